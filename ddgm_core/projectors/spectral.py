"""K gradient steps, a proximal step, or a draw, as one product in the eigenbasis of AᵀA."""

from __future__ import annotations

import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.batched import BatchedProjector
from ddgm.core.projectors.protocol import (
    BasisError,
    DrawStep,
    Projector,
    ProximalStep,
    Spectral,
)


def building(geometry: TiltGeometry) -> str:
    """Words for the work that is done once for a geometry."""
    return f"building the eigenbasis for slices of {geometry.thickness} x {geometry.width}, once"


def proximal(projector: Spectral, y: Tensor) -> ProximalStep:
    """The exact proximal step, V (S² + μ)⁻¹ (S Uᵀy + μ Vᵀx); see `Projector.proximal`."""
    data, squares = projector.data_coefficients(y), projector.singular_values**2

    def step(x: Tensor, mu: float) -> Tensor:
        return projector.slices((data + mu * projector.coefficients(x)) / (squares + mu))

    return step


def check_basis(projector: Projector, method: str) -> None:
    """Refuse a method that needs the singular vectors of a projector that has none.

    Raises:
        BasisError: it has none.
    """
    inner = projector.projector if isinstance(projector, BatchedProjector) else projector
    if not isinstance(inner, Spectral):
        raise BasisError(
            f"method: {method} needs the singular vectors of A, which a "
            f"{inner.geometry.detector} detector's have no quick way to; use a lateral detector, "
            "or another method"
        )


def draws(projector: Projector, y: Tensor) -> DrawStep:
    """The map x, μ, ε → a draw of N((AᵀA + μ)⁻¹ (Aᵀy + μx), (AᵀA + μ)⁻¹), ε being unit noise.

    Where the projector works on an extended slab, what lies outside of the slice gets no noise.

    Args:
        projector: a `Spectral`, or batches of one; see `check_basis`.
        y: sinograms.
    """
    if isinstance(projector, BatchedProjector):
        return projector.draws(draws, y)
    assert isinstance(projector, Spectral)
    a, data, squares = projector, projector.data_coefficients(y), projector.singular_values**2

    def draw(x: Tensor, mu: float, noise: Tensor) -> Tensor:
        mean = (data + mu * a.coefficients(x)) / (squares + mu)
        return a.slices(mean + torch.rsqrt(squares + mu) * a.coefficients(noise))

    return draw


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
