"""Tilt series of Gaussian blobs, whose projections are known in closed form, in float64.

A blob at (z, y, x) is seen by IMOD's formula at u = (x - xc) cos θ - (z - zc) sin θ + uc, v = y.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddgm.pipeline.volumes.series.views import View

Point = tuple[float, float, float]
SIGMA = 2.5  # of a blob, in raw pixels: no frequencies above what a pixel holds


def projected(
    blobs: Sequence[Point], angle: float, u: np.ndarray, v: np.ndarray, sigma: float = SIGMA
) -> np.ndarray:
    """Integrals along the beam at places from the field's centre, in raw pixels; (v, u)."""
    theta = np.radians(angle)
    out = np.zeros(np.broadcast_shapes(u.shape, v.shape))
    for z, y, x in blobs:
        beside = u - (x * np.cos(theta) - z * np.sin(theta))
        squares = beside**2 + (v - y) ** 2
        out += np.sqrt(2 * np.pi) * sigma * np.exp(-squares / (2 * sigma**2))
    return out


def raw_stack(
    blobs: Sequence[Point], views: Sequence[View], shape: tuple[int, int], sigma: float = SIGMA
) -> np.ndarray:
    """Raw views of blobs, whose places are from the slab's centre, in raw pixels."""
    row, column = np.indices(shape, dtype=float)
    column -= (shape[1] - 1) / 2
    row -= (shape[0] - 1) / 2
    seen = []
    for view in views:
        u = view.a11 * column + view.a12 * row + view.dx
        v = view.a21 * column + view.a22 * row + view.dy
        seen.append(view.gain * projected(blobs, view.angle, u, v, sigma) + view.offset)
    return np.stack(seen)


def turned(angle: float, degrees: float, shift: tuple[float, float] = (0, 0)) -> View:
    """A view whose raw image is turned by so many degrees into the aligned one, and moved."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return View(0, angle, 1, c, -s, s, c, *shift)


def numbered(views: Sequence[View]) -> list[View]:
    """The views with their places in the stack."""
    from dataclasses import replace

    return [replace(view, view=place) for place, view in enumerate(views)]
