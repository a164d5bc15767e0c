"""Area means of an image that comes piece by piece, in the memory of one piece and the result."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np


class AreaMeans:
    """The means over 1 or 2 voxels along each axis.

    Grey levels in uint8 are rounded half to even; means of float32 are taken in float64 and rounded
    once. At an odd end the mean is over the voxels that there are. What no piece covers counts as
    0, as it does to those who read the image.

    Args:
        shape: of the image.
        step: voxels to a mean along each axis, 1 or 2, and 2 along one axis at least.
        dtype: of the image and of the means, uint8 or float32.
    """

    def __init__(self, shape: Sequence[int], step: Sequence[int], dtype: str) -> None:
        self.shape, self.step, self.dtype = shape, step, np.dtype(dtype)
        wide = np.uint16 if self.dtype == np.uint8 else np.float64
        self.sums: Any = np.zeros([-(-n // s) for n, s in zip(shape, step, strict=True)], wide)

    def add(self, piece: np.ndarray, start: Sequence[int]) -> None:
        """Add a piece, which begins at `start`. No two pieces may overlap."""
        part = piece
        for axis, step in enumerate(self.step):
            if step == 2:
                part = _pair_sums(part, axis, start[axis] % 2, self.sums.dtype)
        ends = zip(start, self.step, part.shape, strict=True)
        self.sums[tuple(slice(first // s, first // s + n) for first, s, n in ends)] += part

    def means(self) -> np.ndarray:
        """The means of all pieces, once. No piece may be added after this."""
        for axis, (n, step) in enumerate(zip(self.shape, self.step, strict=True)):
            if n % step:  # half as many voxels: each counts twice
                np.moveaxis(self.sums, axis, 0)[-1] *= 2
        count = prod(self.step)
        if self.dtype != np.uint8:
            return (self.sums / count).astype(self.dtype)
        bits = count.bit_length() - 1
        below_half = count // 2 - 1  # and one more where the quotient is odd: to its even neighbour
        return ((self.sums + below_half + (self.sums >> bits & 1)) >> bits).astype(np.uint8)


def _pair_sums(part: np.ndarray, axis: int, odd: int, wide: np.dtype) -> np.ndarray:
    """The sums of neighbours two by two along an axis; an odd start stands alone, as an end may."""
    values = np.moveaxis(part, axis, 0)
    shape = list(part.shape)
    shape[axis] = (part.shape[axis] + odd + 1) // 2
    out = np.zeros(shape, wide)
    sums = np.moveaxis(out, axis, 0)
    firsts, seconds = values[odd::2], values[1 - odd :: 2]
    sums[odd : odd + len(firsts)] = firsts
    sums[: len(seconds)] += seconds
    return out
