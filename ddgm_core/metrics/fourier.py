"""Fourier ring correlation of images, in all directions or along one axis, and resolution from it.

Saxton and Baumeister (1982), van Heel and Schatz (2005); rings as in teamtomo's
torch-fourier-shell-correlation: as many as fit the shorter side, and each frequency shared between
the two rings that it lies between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Along = Literal["width", "thickness"]

HALF_ANGLE = 45.0  # degrees: each frequency belongs to the axis that it is nearer to
# correlation at which resolution is read off (Rosenthal and Henderson 2003)
AGAINST_TRUTH = 0.5  # one image is without noise
BETWEEN_HALVES = 0.143  # both have the noise of half of the data


def ring_correlation(
    a: Tensor, b: Tensor, along: Along | None = None, aspect: float = 1.0
) -> Tensor:
    """Correlation of two images by frequency, ring by ring.

    Args:
        a: images, (..., thickness, width).
        b: as a.
        along: count only frequencies within `HALF_ANGLE` of this axis; default: all.
        aspect: height of a pixel over its width.

    Returns:
        (..., n // 2 + 1), n the shorter side; ring k is of k / n cycles a pixel of width. Ring 0 is
        1, and a ring without frequencies, or where an image has no power, 0.
    """
    return _by_ring(_products(a, b), a.shape, along, aspect)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """At each frequency the real cross power of two images, and each power, (3, ..., all)."""
    fa, fb = (torch.view_as_real(torch.fft.rfft2(v).flatten(-2)) for v in (a, b))
    return torch.stack([(fa * fb).sum(-1), fa.square().sum(-1), fb.square().sum(-1)])


def _by_ring(products: Tensor, shape: Sequence[int], along: Along | None, aspect: float) -> Tensor:
    height, width = shape[-2:]
    rings = min(height, width) // 2 + 1
    ring, share, counted = (
        v.to(products.device) for v in _frequencies(height, width, along, aspect)
    )
    terms = products[..., counted]
    shared = share * terms
    sums = terms.new_zeros(*terms.shape[:-1], rings + 1)  # the last: beyond all rings
    sums.index_add_(-1, ring, terms - shared)
    sums.index_add_(-1, ring + 1, shared)
    cross, *powers = sums[..., :rings]
    scale = (powers[0] * powers[1]).sqrt()
    found = torch.where(scale > 0, cross / scale, 0.0)
    found[..., 0] = 1.0
    return found


@lru_cache(maxsize=16)
def _frequencies(
    height: int, width: int, along: Along | None, aspect: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the frequencies that count: the ring below each, its share in the next; which they are."""
    n = min(height, width)
    down, across = torch.fft.fftfreq(height) / aspect, torch.fft.rfftfreq(width)
    distance = torch.hypot(*torch.meshgrid(down, across, indexing="ij")).flatten() * n
    distance = distance.double().round(decimals=4)  # a whole ring is whole, whatever the rounding
    angle = torch.atan2(down.abs()[:, None], across[None]).flatten() * 180 / math.pi
    near = {
        None: torch.ones_like(angle, dtype=torch.bool),
        "width": angle <= HALF_ANGLE,
        "thickness": angle >= 90 - HALF_ANGLE,
    }[along]
    counted = torch.nonzero(near & (distance < n // 2 + 1)).flatten()
    ring = distance[counted].floor()
    return ring.long(), (distance[counted] - ring).float(), counted


def resolution(correlation: Tensor, threshold: float, side: int, pixel_nm: float) -> Tensor:
    """Length in nm of the waves at which a ring correlation first falls below a threshold.

    Between two rings the correlation is taken to be linear. Where it never falls so far, the
    result is two pixels: finer waves cannot be told.

    Args:
        correlation: (..., rings), of `ring_correlation`.
        threshold: `AGAINST_TRUTH` or `BETWEEN_HALVES`.
        side: the images' shorter side in pixels, which the rings are counted by.
        pixel_nm: width of a pixel.

    Returns:
        (...).
    """
    below = correlation < threshold
    last = correlation.shape[-1] - 1
    first = torch.where(below.any(-1), below.int().argmax(-1), last).clamp_min(1)[..., None]
    under, over = (correlation.gather(-1, k)[..., 0] for k in (first, first - 1))
    back = ((threshold - under) / (over - under)).nan_to_num(0.0).clamp(0, 1)
    return pixel_nm * side / (first[..., 0] - back)


def resolutions(
    x: Tensor,
    truth: Tensor,
    pixel_nm: float,
    aspect: float = 1.0,
    threshold: float = AGAINST_TRUTH,
) -> dict[str, Tensor]:
    """Resolution of a stack against truth, in nm, along the width and the thickness of its slices.

    All slices' rings are added up before they are divided, as a ring of one slice along the
    thickness has few frequencies. Under a Hann window: the edges of an image, which are the same
    in both, would count as detail.

    Args:
        x: slices, (n, thickness, width).
        truth: as x; or, for another threshold, a reconstruction from other data.
        pixel_nm: width of a pixel.
        aspect: height of a pixel over its width.
        threshold: see `resolution`.

    Returns:
        `resolution_width` and `resolution_thickness`, a number each.
    """
    windows = [torch.hann_window(n, device=x.device) for n in x.shape[-2:]]
    window, side = torch.outer(*windows), min(x.shape[-2:])
    products = torch.zeros(())
    for pair in zip(x, truth, strict=True):  # one at a time: a stack's transforms are large
        products = products + _products(*(window * (v - v.mean()) for v in pair))
    axes: tuple[Along, Along] = "width", "thickness"
    return {
        f"resolution_{axis}": resolution(
            _by_ring(products, x.shape, axis, aspect), threshold, side, pixel_nm
        )
        for axis in axes
    }
