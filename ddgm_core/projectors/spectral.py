"""K gradient steps, or a proximal step, as one product in the eigenbasis of AᵀA."""

from __future__ import annotations

import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.protocol import ProximalStep, Spectral


def building(geometry: TiltGeometry) -> str:
    """Words for the work that is done once for a geometry."""
    return f"building the eigenbasis for slices of {geometry.thickness} x {geometry.width}, once"


def proximal(projector: Spectral, y: Tensor) -> ProximalStep:
    """The exact proximal step, V (S² + μ)⁻¹ (S Uᵀy + μ Vᵀx); see `Projector.proximal`."""
    data, squares = projector.data_coefficients(y), projector.singular_values**2

    def step(x: Tensor, mu: float) -> Tensor:
        return projector.slices((data + mu * projector.coefficients(x)) / (squares + mu))

    return step


def collapse(squares: Tensor, step: float, count: int) -> tuple[Tensor, Tensor]:
    """Factors p, q with which `count` gradient steps are x ← V (p Vᵀx + q S Uᵀy).

    They are (1 - λs²)^K and (1 - (1 - λs²)^K) / s²; at small s² the latter is written with log1p
    and expm1, so that it tends to λK without cancellation.

    Args:
        squares: s², in float64.
        step: λ, below 2 / ‖A‖₂².
        count: K.
    """
    t = step * squares.clamp_min(0)
    power = (1 - t) ** count
    small = t.clamp(1e-30, 0.5)
    series = torch.where(
        t < 0.5,
        -torch.expm1(count * torch.log1p(-small)) / small,
        (1 - power) / t.clamp_min(0.5),
    )
    return power, step * series
