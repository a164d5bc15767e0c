"""Power of measured views at each frequency, split into that of tissue and that of white noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.core.metrics.tissue import SIDE

BANDS = 4  # of rows, spread over the stack, that are looked at
TILES = 15  # of each band, at most
LEAST = 16  # rows, and columns, without which there is nothing to be found
COARSEST = 4.5 / SIDE  # cycles a voxel: below, one piece of tissue differs much from another
FINE = 0.35  # cycles a voxel: beyond, noise stands alone
ROUNDS = 20  # of weighting anew; they settle in less than ten


class LevelsError(DdgmError):
    """Views whose grey levels cannot be told."""


@dataclass(frozen=True)
class Look:
    """One band of rows: of each view the tiles' powers, and its pixels' number and sum.

    Attributes:
        shape: of a tile.
        powers: (tiles, frequencies) of each view; tiles with missing pixels are left out.
        pixels: (views,).
        sums: (views,).
    """

    shape: tuple[int, int]
    powers: list[np.ndarray]
    pixels: np.ndarray
    sums: np.ndarray


@dataclass(frozen=True)
class Parts:
    """Square gain, and power of the noise, of each tile of one view; (tiles,)."""

    square: np.ndarray
    noise: np.ndarray


def bands(rows: int) -> list[tuple[int, int]]:
    """Bands of rows, each its first and the one after its last, spread over all."""
    height = min(rows, SIDE)
    count = min(BANDS, rows // height)
    gap = (rows - count * height) / count
    starts = [round(i * (height + gap) + gap / 2) for i in range(count)]
    return [(a, a + height) for a in starts]


def look(band: np.ndarray) -> Look:
    """The powers of a band (views, rows, columns), NaN where a view has no data.

    Raises:
        LevelsError: it is too small.
    """
    height, width = band.shape[1:]
    if min(height, width) < LEAST:
        raise LevelsError(
            f"tilts: views of {height} x {width} pixels are too small to find their gain and noise "
            f"in, {LEAST} x {LEAST} are the least; give gain, offset and noise in the table"
        )
    side = min(width, SIDE)
    starts = np.linspace(0, width - side, min(TILES, 2 * width // side - 1)).round().astype(int)
    tiles = [band[:, :, a : a + side].astype(np.float64) for a in starts]
    powers = [
        np.array([power(tile[v]).ravel() for tile in tiles if np.isfinite(tile[v]).all()])
        for v in range(len(band))
    ]
    whole = -1, height * (side // 2 + 1)  # a view without any tile has as many frequencies
    powers = [found.reshape(whole) for found in powers]
    there = np.isfinite(band)
    sums = np.where(there, band, 0).sum(axis=(1, 2), dtype=np.float64)
    return Look((height, side), powers, there.sum(axis=(1, 2)), sums)


def hann(shape: tuple[int, int]) -> np.ndarray:
    """The window of a tile."""
    return np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in shape))


def frequencies(shape: tuple[int, int]) -> np.ndarray:
    """Lengths of a tile's frequencies, in cycles a voxel, (H, W // 2 + 1)."""
    return np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))


def power(tile: np.ndarray) -> np.ndarray:
    """Power density of a tile under its window, (H, W // 2 + 1); v of white noise of variance v."""
    window = hann(tile.shape)
    found = np.fft.rfft2(window * (tile - (window * tile).sum() / window.sum()))
    return np.abs(found) ** 2 / (window**2).sum()


def expected_power(
    shape: tuple[int, int], density: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Power that a tile of an image has under its window, (H, W // 2 + 1).

    The window blurs frequencies, and power falls steeply: what it lets over is counted.

    Args:
        shape: of the tile.
        density: power of the image at frequencies in cycles a pixel.
    """
    double = 2 * shape[0], 2 * shape[1]
    frequency = np.hypot(np.fft.fftfreq(double[0])[:, None], np.fft.fftfreq(double[1]))
    covariance = np.fft.ifft2(density(frequency)).real
    window = hann(shape)
    overlap = np.fft.ifft2(np.abs(np.fft.fft2(window, double)) ** 2).real / (window**2).sum()
    return np.fft.fft2(covariance * overlap).real[::2, ::2][:, : shape[1] // 2 + 1]


def split(powers: np.ndarray, tissue: np.ndarray, frequency: np.ndarray, view: int) -> Parts:
    """Split tiles' powers into a number times what tissue of gain 1 has, and white noise.

    Weights are those of a power, whose standard deviation is itself; with them fixed the fit is
    linear, so that the mean of tiles' fits is the fit of their mean.

    Args:
        powers: (tiles, frequencies) of one view.
        tissue: power of tissue of gain 1 there.
        frequency: see `frequencies`.
        view: its number, for the message.

    Raises:
        LevelsError: there is nothing to see in this view.
    """
    if not len(powers) or not (powers.mean(axis=0) > 0).any():
        raise LevelsError(
            f"tilts: view {view} is constant, or has no tile without missing pixels; leave it out "
            "(use: 0)"
        )
    kept = frequency > COARSEST
    mean, t = powers.mean(axis=0)[kept], tissue[kept]
    design = np.stack([t, np.ones_like(t)])
    noise = float(np.median(mean[frequency[kept] > FINE]))
    square = max(float(np.median((mean - noise) / t)), noise / t.max())
    solve = np.zeros_like(design)
    for _ in range(ROUNDS):
        weighted = design / np.square(square * t + noise)
        solve = np.linalg.solve(weighted @ design.T, weighted)
        found = solve @ mean
        square, noise = max(found[0], square / 4), max(found[1], noise / 4)
    return Parts(*(solve @ powers[:, kept].T))


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean; infinite of one value."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf
