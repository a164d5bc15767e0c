"""Volumes read through cloud-volume: the one border where x, y, z becomes z, y, x.

Every failure becomes a `SourceError`: what was asked for, what went wrong and what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A half-open box of voxels of one mip, in z, y, x order."""

    start: Triple
    stop: Triple

    @property
    def shape(self) -> Triple:
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def inside(self, other: "Box") -> bool:
        """True if no voxel of this box lies outside `other`."""
        low = all(a >= b for a, b in zip(self.start, other.start, strict=True))
        return low and all(a <= b for a, b in zip(self.stop, other.stop, strict=True))

    def common(self, other: "Box") -> "Box | None":
        """The voxels that two boxes share; None where there are none."""
        z0, y0, x0 = map(max, self.start, other.start)
        z1, y1, x1 = map(min, self.stop, other.stop)
        return Box((z0, y0, x0), (z1, y1, x1)) if z0 < z1 and y0 < y1 and x0 < x1 else None

    def between(self, axis: int, start: int, stop: int) -> "Box":
        """This box with another start and stop along an axis."""
        low, high = list(self.start), list(self.stop)
        low[axis], high[axis] = start, stop
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def slices(self, origin: Triple = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """The index of this box in an array whose first voxel is `origin`."""
        ranges = zip(self.start, self.stop, origin, strict=True)
        z, y, x = (slice(a - o, b - o) for a, b, o in ranges)
        return z, y, x

    def parts(self, origin: Triple, chunk: Triple) -> Iterator["Box"]:
        """This box cut along the grid of chunks that starts at `origin`, z slowest."""
        ranges = []
        for a, b, o, step in zip(self.start, self.stop, origin, chunk, strict=True):
            edges = [a, *range(a - (a - o) % step + step, b, step), b]
            ranges.append(pairwise(edges))
        for (z0, z1), (y0, y1), (x0, x1) in product(*ranges):
            yield Box((z0, y0, x0), (z1, y1, x1))

    def __str__(self) -> str:
        ranges = zip("zyx", self.start, self.stop, strict=True)
        return ", ".join(f"{axis} {a}:{b}" for axis, a, b in ranges)
