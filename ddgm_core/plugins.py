"""Other people's methods, projectors and denoisers, by the entry points of their packages."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Literal

from ddgm.core.errors import DdgmError

Group = Literal["ddgm.methods", "ddgm.projectors", "ddgm.denoisers"]


class PluginError(DdgmError):
    """An entry point that cannot be loaded, or that is something else than its group wants."""


def names(group: Group) -> list[str]:
    """Names that installed packages give in a group, sorted."""
    return sorted(_points(group, tuple(sys.path)).names)


def load(group: Group, name: str) -> Any:
    """The object that an entry point names.

    Raises:
        KeyError: no package gives this name.
        PluginError: it cannot be imported, or several packages give this name.
    """
    point = _point(group, name)
    try:
        return point.load()
    except Exception as error:  # whatever another package does as it is imported
        raise PluginError(
            f"{group}: {name} of {provider(group, name)} cannot be imported "
            f"({type(error).__name__}: {error}); mend or remove that package"
        ) from error


def provider(group: Group, name: str) -> str:
    """Name and version of the distribution that gives an entry point, as in `their-methods 1.2`.

    Raises:
        KeyError: no package gives this name.
        PluginError: several do.
    """
    distribution = _point(group, name).dist
    return f"{distribution.name} {distribution.version}" if distribution else name


@lru_cache
def _points(group: Group, path: tuple[str, ...]) -> EntryPoints:
    """The entry points of a group: every spec asks for them, and it takes files of all packages."""
    return entry_points(group=group)


def _point(group: Group, name: str) -> EntryPoint:
    found = list(entry_points(group=group, name=name))
    if not found:
        raise KeyError(name)
    if len(found) > 1:
        several = " and ".join(sorted(p.dist.name if p.dist else p.value for p in found))
        raise PluginError(f"{group}: {several} both give {name!r}; remove one of them")
    return found[0]
