"""The forward operator A of a geometry, its adjoint, and K gradient steps, behind one protocol."""

from __future__ import annotations

from pathlib import Path

import torch

from ddgm.core import plugins
from ddgm.core.errors import DdgmError
from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.fourier import FourierProjector
from ddgm.core.projectors.matrix import MatrixProjector
from ddgm.core.projectors.protocol import (
    DataStep,
    Projector,
    ProximalStep,
    Spectral,
    StepError,
    Whitening,
    checked_step,
)

__all__ = [
    "DataStep",
    "FourierProjector",
    "MatrixProjector",
    "Projector",
    "ProjectorError",
    "ProximalStep",
    "Spectral",
    "StepError",
    "Whitening",
    "checked_step",
    "projector",
]


BACKENDS = {"fourier": FourierProjector, "matrix": MatrixProjector}


class ProjectorError(DdgmError):
    """A projector that there is not, or that is not for this geometry."""


def projector(
    geometry: TiltGeometry,
    cache: Path | None = None,
    device: str | torch.device = "cpu",
    name: str | None = None,
) -> Projector:
    """The backend of a name, ours or of another package's entry points `ddgm.projectors`.

    Without a name it is the fastest exact one: `fourier` for a lateral detector, else `matrix`.
    An entry point is called as ours are, with geometry, cache and device.

    Args:
        geometry: the slices and their views.
        cache: folder for what is built once per geometry; by default `cache_folder()`.
        device: where tensors live.
        name: of the backend; default: by the detector.

    Raises:
        ProjectorError: there is no such backend, or it is not for this geometry, or takes no
            account of its views' noise.
        PluginError: another package's cannot be imported.
    """
    name = name or ("fourier" if geometry.detector == "lateral" else "matrix")
    try:
        backend = BACKENDS[name] if name in BACKENDS else plugins.load("ddgm.projectors", name)
    except KeyError:
        known = ", ".join([*BACKENDS, *plugins.names("ddgm.projectors")])
        raise ProjectorError(f"tilts.projector: {name!r} is none; choose of {known}") from None
    try:
        made = backend(geometry, cache, device)
    except ValueError as error:
        raise ProjectorError(f"tilts.projector: {name}: {error}; choose another one") from error
    if geometry.noise and not isinstance(made, Whitening):
        raise ProjectorError(
            f"tilts.projector: {name} weighs all views alike, and those of a measured series "
            "differ in their noise; leave the key out"
        )
    return made
