"""Dask's settings for ddgm, which lie in `dask.yaml` with their reasons.

python -m ddgm.workers.settings

says where that file is, for schedulers and workers that ddgm does not start itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dask.yaml")


def settings() -> dict[str, Any]:
    """Dask settings by dotted name; setting them so keeps what else is set."""
    from dask.config import collect_yaml

    (found,) = collect_yaml([str(FILE)])
    return dict(_dotted(found))


def pristine() -> dict[str, Any]:
    """Dask's own settings of its processes, whatever configuration files and environment say."""
    from dask import config

    return {"distributed": config.merge(*config.defaults)["distributed"]}


def _dotted(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


if __name__ == "__main__":
    print(FILE)
