"""Positions of voxels in nanometres: the one conversion between corners and centres.

Precomputed volumes give the corner of their first voxel, as a whole number of voxels; OME-Zarr
gives its centre, in units of length. Both are turned here into the volume's origin: the corner of
the voxel of index 0. The arithmetic is decimal, so that sizes such as 9.8 nm come out as they were
written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import floor

from ddgm.pipeline.volumes.box import Triple

Point = tuple[float, float, float]  # z, y, x, in nanometres

HALF = Decimal("0.5")


def exact(value: float) -> Decimal:
    """A float as the decimal number that it is written as."""
    return Decimal(repr(float(value)))


def origin_of(centre: Sequence[float], size: Sequence[float]) -> Point:
    """The corner of the voxel whose centre is given.

    Args:
        centre: of a voxel, in nanometres, (z, y, x).
        size: of a voxel, in nanometres.
    """
    return _each(lambda c, s: c - HALF * s, centre, size)


def centre_of(
    voxel: Sequence[int],
    size: Sequence[float],
    origin: Sequence[float],
    factor: Sequence[int] = (1, 1, 1),
) -> Point:
    """The centre of a voxel, or of several that are taken for one, in nanometres.

    Args:
        voxel: the index of the first, (z, y, x).
        size: of a voxel, in nanometres.
        origin: the corner of voxel 0, in nanometres.
        factor: voxels that are taken for one, along each axis.
    """
    return _each(lambda i, s, o, f: o + (i + HALF * f) * s, voxel, size, origin, factor)


def size_of(size: Sequence[float], factor: Sequence[int]) -> Point:
    """The size of several voxels that are taken for one, in nanometres.

    Args:
        size: of a voxel, in nanometres, (z, y, x).
        factor: voxels along each axis.
    """
    return _each(lambda s, f: s * f, size, factor)


def nearest_voxel(corner: Sequence[float], size: Sequence[float]) -> Triple:
    """The corner in whole voxels, as precomputed wants it; half a voxel is rounded up.

    An image whose first voxel has its centre at 0, as most files say, so begins at voxel 0.

    Args:
        corner: of a voxel, in nanometres, (z, y, x).
        size: of a voxel, in nanometres.
    """
    pairs = zip(corner, size, strict=True)
    z, y, x = (floor(exact(c) / exact(s) + HALF) for c, s in pairs)
    return z, y, x


def _each(formula: Callable[..., Decimal], *points: Sequence[float]) -> Point:
    z, y, x = (float(formula(*map(exact, values))) for values in zip(*points, strict=True))
    return z, y, x
