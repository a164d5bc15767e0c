"""A microscope that is not ddgm's: views of a volume by IMOD's formula, summed in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import affine_transform

from ddgm.pipeline.volumes.series.views import View


def projections(volume: np.ndarray, angles: Sequence[float]) -> np.ndarray:
    """Sums along the beam of a volume (z, y, x), (views, y, x): each voxel to the two bins that it
    lies between, at u = (x - xc) cos θ - (z - zc) sin θ + uc."""
    depth, rows, columns = volume.shape
    z, x = np.mgrid[:depth, :columns].astype(float)
    z -= (depth - 1) / 2
    x -= (columns - 1) / 2
    out = np.zeros((len(angles), rows, columns + 2))
    for view, angle in zip(out, np.radians(angles), strict=True):
        u = x * np.cos(angle) - z * np.sin(angle) + (columns - 1) / 2
        left = np.floor(u).astype(int)
        for share, bins in ((1 - (u - left), left), (u - left, left + 1)):
            inside = (bins >= 0) & (bins < columns)
            for row in range(rows):
                values = share[inside] * volume[:, row][inside]
                view[row] += np.bincount(bins[inside], values, columns + 2)
    return out[..., :columns]


def raw_views(aligned: np.ndarray, views: Sequence[View], shape: tuple[int, int]) -> np.ndarray:
    """Views as a camera has them, from aligned ones and the transforms that align them."""
    out = []
    for image, view in zip(aligned, views, strict=True):
        # rows and columns of the aligned view, of a place in the raw one
        matrix = np.array([[view.a22, view.a21], [view.a12, view.a11]])
        camera, middle = (np.array([(n - 1) / 2 for n in s]) for s in (shape, image.shape))
        offset: Any = middle + np.array([view.dy, view.dx]) - matrix @ camera
        seen = affine_transform(image, matrix, offset, shape, order=5, mode="nearest")
        out.append(view.gain * seen + view.offset)
    return np.stack(out)


def tilted(angle: float, degrees: float, shift: tuple[float, float]) -> View:
    """A view whose raw image is turned by so many degrees into the aligned one, and moved."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return View(0, angle, 1, c, -s, s, c, *shift)
