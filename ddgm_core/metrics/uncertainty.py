"""The part of an image that the data determine, and the spread of a sampler's chains."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddgm.core.projectors import Spectral

WINDOW = 7  # pixels a side over which energies are compared: single pixels cross zero


def measured_share(projector: Spectral, x: Tensor, tilt_noise: float) -> Tensor:
    """The share of a slice that lies in what was measured, pixel by pixel.

    x is split by the singular vectors of A: a direction with singular value s counts as measured
    by s² / (s² + σ_y²), the weight that data of noise σ_y have against a prior of unit variance. Of
    the two parts, each pixel gets the measured one's share of the energy in a window around it.

    Args:
        projector: A, with its singular values.
        x: normalised slices, (B, thickness, width).
        tilt_noise: σ_y.

    Returns:
        (B, thickness, width), between 0 (the prior's alone) and 1 (the data's).
    """
    seen = measured_part(projector, x, tilt_noise)
    known, rest = _energy(seen), _energy(x - seen)
    return known / (known + rest).clamp_min(1e-12)


def measured_part(projector: Spectral, x: Tensor, tilt_noise: float) -> Tensor:
    """Wx, W = s² / (s² + σ_y²) in the eigenbasis of AᵀA: what of x is in measured directions.

    Of an error, x less its truth, this is what the data contradict, and the rest is what the method
    invented or left out where they say nothing (Bhadra et al. 2021, with a soft border between the
    two).

    Args:
        projector: A, with its singular values.
        x: normalised slices, or differences of them, (B, thickness, width).
        tilt_noise: σ_y.

    Returns:
        As x.
    """
    squares = projector.singular_values**2
    weights = squares / (squares + max(tilt_noise, 1e-6) ** 2)
    return projector.slices(weights * projector.coefficients(x))


def _energy(x: Tensor) -> Tensor:
    """Mean square over the window; what lies beyond an edge does not count."""
    pooled = torch.nn.functional.avg_pool2d(
        x[:, None] ** 2, WINDOW, 1, WINDOW // 2, count_include_pad=False
    )
    return pooled[:, 0]


def mean_and_spread(chain: Callable[[int], Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Mean over chains, and their standard deviation (of the sample, over `count` - 1).

    One at a time, by Welford's recurrence: `count` changes no memory.

    Args:
        chain: number from 0 → slices, (B, thickness, width).
        count: S, at least 1; the spread of one is zero.
    """
    mean = chain(0)
    squares = torch.zeros_like(mean)
    for k in range(1, count):
        x = chain(k)
        off = x - mean
        mean = mean + off / (k + 1)
        squares = squares + off * (x - mean)
    return mean, (squares / max(count - 1, 1)).sqrt()
