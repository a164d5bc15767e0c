"""All methods by name: ours, and those of other packages' entry points `ddgm.methods`."""

from __future__ import annotations

from ddgm.core import plugins
from ddgm.core.methods.classical import Cgls, FilteredBackProjection, GradientDescent
from ddgm.core.methods.diffusion import Ddgm, Ddx
from ddgm.core.methods.method import Method, MethodError
from ddgm.core.methods.posterior import SplitGibbs
from ddgm.core.methods.restoration import Restore
from ddgm.core.methods.rivals.deepinv import DiffPir
from ddgm.core.methods.rivals.methods import Daps, Ddrm, Dds, Dps, PiGdm, RedDiff
from ddgm.core.plugins import PluginError

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Ddgm,
        Ddx,
        SplitGibbs,
        Restore,
        GradientDescent,
        Cgls,
        FilteredBackProjection,
        Ddrm,
        Dps,
        Dds,
        PiGdm,
        RedDiff,
        Daps,
        DiffPir,
    )
}


def method_class(name: str) -> type[Method]:
    """The class of the method of this name.

    Raises:
        MethodError: there is none.
        PluginError: another package gives this name to something else.
    """
    if name in METHODS:
        return METHODS[name]
    try:
        found = plugins.load("ddgm.methods", name)
    except KeyError:
        known = ", ".join([*METHODS, *plugins.names("ddgm.methods")])
        raise MethodError(f"method: {name!r} is none; choose of {known}") from None
    if not (isinstance(found, type) and issubclass(found, Method)) or found.name != name:
        raise PluginError(
            f"ddgm.methods: {name} of {plugins.provider('ddgm.methods', name)} must be a subclass "
            f"of ddgm.core.methods.method.Method with the name {name!r}; mend that package"
        )
    return found
