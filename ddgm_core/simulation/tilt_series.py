"""Simulated tilt series (Eq. 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ddgm.core.simulation.noise import NoiseField, SliceOrigin


def tilt_series(
    project: Callable[[Tensor], Tensor],
    slices: Tensor,
    tilt_noise: float,
    seed: int,
    origins: Sequence[SliceOrigin],
) -> Tensor:
    """Sinograms y = Ax + σ_y ε, (B, views, bins).

    Args:
        project: slices → Ax, a projector's `forward`.
        slices: x, (B, thickness, width), normalised.
        tilt_noise: σ_y, normalised units.
        seed: of ε.
        origins: of the slices in their volume, which decide ε with the seed.
    """
    y = project(slices)
    noise = NoiseField(seed, "sinogram").batch(tuple(y.shape[1:]), origins)
    return y + tilt_noise * noise.to(y)
