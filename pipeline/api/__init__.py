"""Reconstruct tilt series at volume scale with a denoising prior (DDGM).

In a notebook, on slices (`projector`, `simulate`, `load_prior`, `reconstruct`, `metrics`) or on
volumes (`load_spec`, `plan`, `run`, `open_run`). Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddgm import metrics
    from ddgm.core.errors import DdgmError
    from ddgm.core.geometry import TiltGeometry
    from ddgm.core.networks.prior import load_prior
    from ddgm.core.simulation.phantom import neuropil
    from ddgm.pipeline.spec.model import Spec
    from ddgm.runs import load_spec, open_run, plan, run
    from ddgm.slices import projector, reconstruct, simulate

    __version__: str

__all__ = [
    "DdgmError",
    "Spec",
    "TiltGeometry",
    "load_prior",
    "load_spec",
    "metrics",
    "neuropil",
    "open_run",
    "plan",
    "projector",
    "reconstruct",
    "run",
    "simulate",
]

_MODULES = {
    "DdgmError": "ddgm.core.errors",
    "Spec": "ddgm.pipeline.spec.model",
    "TiltGeometry": "ddgm.core.geometry",
    "load_prior": "ddgm.core.networks.prior",
    "load_spec": "ddgm.runs",
    "neuropil": "ddgm.core.simulation.phantom",
    "open_run": "ddgm.runs",
    "plan": "ddgm.runs",
    "projector": "ddgm.slices",
    "reconstruct": "ddgm.slices",
    "run": "ddgm.runs",
    "simulate": "ddgm.slices",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("ddgm")
    elif name == "metrics":
        value = import_module("ddgm.metrics")
    elif name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module 'ddgm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *globals()})
