"""Voxels of another size along one axis: where they lie, and what of the stored ones is in them.

Both grids have the corner of voxel 0 in common. A coarser voxel is the mean of what it covers, each
stored voxel by the length that is covered; a finer one is interpolated linearly between the centres
of the stored ones, the outermost of which go on to the volume's edge. All places are ratios of
whole numbers, so that a voxel is the same whatever the box is that it is read in.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ddgm.pipeline.volumes.coordinates import exact

LARGEST = 10**6  # denominator of a ratio; what sizes differ by beyond it is rounding


@dataclass(frozen=True)
class Grid:
    """The grid of new voxels along an axis.

    Attributes:
        ratio: size of a new voxel over that of a stored one.
        start, stop: the stored voxels.
    """

    ratio: Fraction
    start: int
    stop: int

    @classmethod
    def of(cls, size: float, stored: float, start: int, stop: int) -> Grid:
        """Make the grid of two sizes, in the same unit, and the stored voxels."""
        ratio = Fraction(exact(size)) / Fraction(exact(stored))
        return cls(ratio.limit_denominator(LARGEST), start, stop)

    @property
    def bounds(self) -> tuple[int, int]:
        """Start and stop of the new voxels that lie wholly within the stored ones."""
        p, q = self.ratio.as_integer_ratio()
        first = -(-self.start * q // p)
        return first, max(first, self.stop * q // p)

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Start and stop of the stored voxels that are in the new ones from `start` to `stop`."""
        taps, _ = self._taps(start, stop)
        return int(taps.min()), int(taps.max()) + 1

    def resample(self, data: np.ndarray, axis: int, start: int, stop: int) -> np.ndarray:
        """The new voxels from `start` to `stop`.

        Args:
            data: the stored voxels that are `needed`, of a floating-point type.
            axis: to resample along.
            start, stop: of the new voxels.
        """
        taps, weights = self._taps(start, stop)
        taps = taps - taps.min()
        shape = [-1 if a == axis else 1 for a in range(data.ndim)]
        out: np.ndarray | None = None
        # term by term: a product of matrices rounds by their shapes, and so by the box
        for tap, weight in zip(taps.T, weights.T.astype(data.dtype), strict=True):
            term = data.take(tap, axis)
            term *= weight.reshape(shape)
            out = term if out is None else np.add(out, term, out=out)
        assert out is not None  # a voxel has a tap at least
        return out

    def _taps(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The stored voxels in each new one, (n, k), and their weights, whose sum is 1."""
        p, q = self.ratio.as_integer_ratio()
        j = np.arange(start, stop)[:, None]
        if p > q:  # lengths in units of 1 / q stored voxels
            taps = j * p // q + np.arange(-(-p // q) + 1)
            covered = np.minimum((j + 1) * p, (taps + 1) * q) - np.maximum(j * p, taps * q)
            weights = covered.clip(0) / p
        else:
            low, rest = np.divmod((2 * j + 1) * p - q, 2 * q)  # of the way from centre to centre
            taps = low + np.arange(2)
            weights = np.concatenate([2 * q - rest, rest], axis=1) / (2 * q)
        taps = taps.clip(self.start, self.stop - 1)  # the outermost voxels go on to the edge
        used = taps[weights > 0]
        return taps.clip(used.min(), used.max()), weights
