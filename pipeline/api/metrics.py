"""Scores of a reconstruction, slice by slice, of numpy arrays or tensors.

One slice gives a number, a stack gives an array of (n,).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ddgm.arrays import A, ArrayError, like, stack
from ddgm.core.metrics import scores
from ddgm.core.paper import TILT_NOISE

__all__ = ["data_residual", "mse", "ssim"]

SMALLEST = 11  # pixels along a side: the window of the structural similarity


def mse(x: A, truth: A) -> A:
    """Mean squared error of each slice.

    Args:
        x: slices, (thickness, width) or (n, thickness, width), normalised.
        truth: as x.

    Returns:
        One number, or (n,).

    Raises:
        ArrayError: shapes that differ, or numbers that are not finite.

    Examples:
        >>> import numpy as np
        >>> float(ddgm.metrics.mse(np.zeros((16, 32)), np.full((16, 32), 0.5)))
        0.25
    """
    a, b = _pair(x, truth)
    return like(scores.mse(a, b), x)


def ssim(x: A, truth: A) -> A:
    """Structural similarity of each slice, at most 1; torchmetrics' with its defaults.

    Args:
        x: slices, (thickness, width) or (n, thickness, width), 11 pixels or more on each side.
        truth: as x.

    Returns:
        One number, or (n,). NaN where both slices are constant.

    Raises:
        ArrayError: shapes that differ or are too small, or numbers that are not finite.

    Examples:
        >>> x = ddgm.neuropil((32, 64, 8))[:, :, 0]
        >>> float(ddgm.metrics.ssim(x, x))
        1.0
    """
    a, b = _pair(x, truth)
    if min(a.shape[1:]) < SMALLEST:
        raise ArrayError(
            f"x: its slices are {a.shape[1]} x {a.shape[2]}; ssim needs {SMALLEST} pixels on each "
            "side"
        )
    return like(scores.ssim(a, b), x)


def data_residual(projection: A, y: A, noise: float = TILT_NOISE) -> A:
    """‖Ax - y‖² per measurement over σ_y²: about 1 where x explains the data to its noise.

    Args:
        projection: Ax, what `projector(geometry).forward` makes of slices, (views, bins) or
            (n, views, bins).
        y: what was measured, as projection.
        noise: σ_y of y; with 0 the residual is the plain mean square.

    Returns:
        One number, or (n,).

    Raises:
        ArrayError: shapes that differ, or numbers that are not finite.

    Examples:
        >>> geometry = ddgm.TiltGeometry.uniform(16, 32, views=12)
        >>> x = ddgm.neuropil((16, 32, 8))[:, :, 0] / 255
        >>> y = ddgm.simulate(x, geometry, noise=2.0)
        >>> ax = ddgm.projector(geometry).forward(x)
        >>> 0.8 < float(ddgm.metrics.data_residual(ax, y, noise=2.0)) < 1.2
        True
    """
    a, b = _pair(projection, y, ("projection", "y"), "views, bins")
    return like(scores.data_residual(a, b, noise), projection)


def _pair(
    a: Any, b: Any, names: tuple[str, str] = ("x", "truth"), axes: str = "thickness, width"
) -> tuple[Tensor, Tensor]:
    first = stack(a, names[0], axes, (None, None))
    second = stack(b, names[1], axes, first.shape[1:])
    if len(first) != len(second):
        raise ArrayError(
            f"{names[1]}: {len(second)} for the {len(first)} of {names[0]}; give as many"
        )
    return first, second.to(first.device)
