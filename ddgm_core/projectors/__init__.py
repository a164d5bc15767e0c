"""The forward operator A of a geometry, its adjoint, and K gradient steps, behind one protocol."""

from __future__ import annotations

from pathlib import Path

import torch

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.fourier import FourierProjector
from ddgm.core.projectors.matrix import MatrixProjector
from ddgm.core.projectors.protocol import (
    DataStep,
    Projector,
    ProximalStep,
    Spectral,
    StepError,
    checked_step,
)

__all__ = [
    "DataStep",
    "FourierProjector",
    "MatrixProjector",
    "Projector",
    "ProximalStep",
    "Spectral",
    "StepError",
    "checked_step",
    "projector",
]


def projector(
    geometry: TiltGeometry, cache: Path | None = None, device: str | torch.device = "cpu"
) -> Projector:
    """The fastest exact backend for a geometry: `fourier` for a lateral detector, else `matrix`.

    Args:
        geometry: the slices and their views.
        cache: folder for what is built once per geometry; by default `cache_folder()`.
        device: where tensors live.
    """
    backend = FourierProjector if geometry.detector == "lateral" else MatrixProjector
    return backend(geometry, cache, device)
