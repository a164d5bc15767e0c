"""From a raw view to the aligned, binned and stretched one, interpolated once.

A sample is a cubic spline's value in the raw view, which is made twice as fine beforehand where no
binning follows. There are as many of them as raw pixels, and
those of a bin are summed: over rows by their mean, as IMOD's newstack does it; over columns by a
low pass that ends at the binned pixel's own frequency, so that noise is white up to there and
there is none above, however the view is stretched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import affine_transform

from ddgm.pipeline.volumes.series.views import View

SPLINE = 16  # raw pixels around a part beyond which the spline's weights are below 1e-9
LOBES = 3  # of the low pass, to either side
EDGE = 8  # binned pixels in which a view fades out beyond its border


@dataclass(frozen=True)
class Grid:
    """The places where a view is sampled, in pixels of the aligned and binned view.

    Attributes:
        rows: of the aligned view.
        start, stop: the rows that are sampled.
        bins: samples of a row, around the aligned view's centre.
        step: from bin to bin: 1, or the cosine of the tilt, where the view is stretched.
        binning: raw pixels to a pixel.
    """

    rows: int
    start: int
    stop: int
    bins: int
    step: float
    binning: int


def sampled(
    raw: Callable[[slice, slice], np.ndarray], shape: tuple[int, int], view: View, grid: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """Values of a view on a grid, and how far there are any: from 1 inside to 0 outside.

    Args:
        raw: gives a part of the raw view, by its rows and columns, float64.
        shape: of the raw view.
        view: its transform.
        grid: where it is sampled.

    Returns:
        Two arrays (rows, bins), float64. Where the second is 0 the first means nothing.
    """
    size = grid.stop - grid.start, grid.bins
    taps = _low_pass(grid)
    fine = 1 if grid.binning == 1 else max(1, math.ceil(grid.binning * grid.step))
    side = len(taps) // 2
    # raw = matrix · (row, column on the fine grid) + corner
    spacing = grid.binning * grid.step / fine
    inverse = np.array([[view.a11, -view.a21], [-view.a12, view.a22]]) / view.determinant
    matrix = inverse * (1.0, spacing)
    first = (
        (grid.start - (grid.rows - 1) / 2) * grid.binning - (grid.binning - 1) / 2 - view.dy,
        -(grid.bins - 1) / 2 * grid.binning * grid.step - side * spacing - view.dx,
    )
    middle = np.array([(n - 1) / 2 for n in shape])
    corner = inverse @ first + middle
    count = size[0] * grid.binning, (size[1] - 1) * fine + len(taps)
    part = _part(shape, matrix, corner, count, SPLINE + EDGE * grid.binning)
    if part is None:
        return np.zeros(size), np.zeros(size)
    origin = np.array([s.start for s in part])
    measured, by = raw(*part), matrix
    offset: Any = corner - origin  # scipy's types know one number alone
    if grid.binning == 1:
        measured, by, offset = _twice_as_fine(measured), 2 * matrix, 2 * offset + 0.5
    values = affine_transform(measured, by, offset, count, mode="reflect")
    values = values.reshape(size[0], grid.binning, -1).mean(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(values, len(taps), axis=1)
    values = windows[:, ::fine] @ taps
    centre = corner + matrix @ ((grid.binning - 1) / 2, side)
    return values, _inside(shape, matrix * (grid.binning, fine), centre, size, grid)


def _twice_as_fine(part: np.ndarray) -> np.ndarray:
    """Four samples for each of a part's, by its cosine series: pixel j lies at (j + 0.5) / 2 - 0.5.

    A cubic spline alone halves the amplitude of a pixel's own frequency, of noise and tissue alike;
    of samples twice as fine it keeps 99 %.
    """
    rows, columns = part.shape
    series: Any = dctn(part, norm="forward")
    fine: Any = idctn(np.pad(series, ((0, rows), (0, columns))), norm="forward")
    return fine


def covered(shape: tuple[int, int], view: View, grid: Grid) -> np.ndarray:
    """True where the centre of a grid's bin lies in a raw view, (rows, bins)."""
    inverse = np.array([[view.a11, -view.a21], [-view.a12, view.a22]]) / view.determinant
    rows = (np.arange(grid.start, grid.stop) - (grid.rows - 1) / 2) * grid.binning - view.dy
    columns = (np.arange(grid.bins) - (grid.bins - 1) / 2) * grid.binning * grid.step - view.dx
    within = np.ones((len(rows), len(columns)), bool)
    for (by_row, by_column), size in zip(inverse, shape, strict=True):
        place = by_row * rows[:, None] + by_column * columns + (size - 1) / 2
        within &= (place >= -0.5) & (place <= size - 0.5)
    return within


def _low_pass(grid: Grid) -> np.ndarray:
    """Weights of the samples around a bin's centre: a windowed sinc; one sample without binning."""
    if grid.binning == 1:
        return np.ones(1)
    fine = max(1, math.ceil(grid.binning * grid.step))
    spacing = grid.step / fine  # in binned pixels
    side = math.ceil(LOBES / spacing) - 1
    at = np.arange(-side, side + 1) * spacing
    weights = np.sinc(at) * np.sinc(at / LOBES)
    return weights / weights.sum()


def _part(
    shape: tuple[int, ...],
    matrix: np.ndarray,
    corner: np.ndarray,
    count: tuple[int, int],
    margin: int,
) -> tuple[slice, slice] | None:
    """The part of a raw view that samples lie in, with a margin; none where none do."""
    ends = np.array([(r, c) for r in (0, count[0] - 1) for c in (0, count[1] - 1)])
    places = ends @ matrix.T + corner
    found = []
    for low, high, size in zip(places.min(axis=0), places.max(axis=0), shape, strict=True):
        start = max(0, math.floor(low) - margin)
        stop = min(size, math.ceil(high) + 1 + margin)
        if start >= stop:
            return None
        found.append(slice(start, stop))
    return found[0], found[1]


def _inside(
    shape: tuple[int, ...],
    matrix: np.ndarray,
    corner: np.ndarray,
    count: tuple[int, int],
    grid: Grid,
) -> np.ndarray:
    """1 in a view, and falling to 0 over `EDGE` binned pixels beyond its border."""
    weight = np.ones(count)
    row, column = np.arange(count[0])[:, None], np.arange(count[1])[None]
    for axis, size in enumerate(shape):
        place = corner[axis] + matrix[axis, 0] * row + matrix[axis, 1] * column
        beyond = np.maximum(-0.5 - place, place - (size - 0.5)) / (EDGE * grid.binning)
        fading = np.cos(np.clip(beyond, 0, 1) * np.pi / 2) ** 2
        weight *= np.where(beyond < 1, fading, 0)  # the cosine is not 0 to the bit
    return weight
