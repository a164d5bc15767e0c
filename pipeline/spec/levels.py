"""The levels of a run's images: each is half as fine as the one before, and made of whole shards.

An axis is halved alone until the voxels are isotropic, from there on all are; an axis of one voxel
is left as it is. A shard of a coarser level is made of whole shards of the level before, of 8 at
most, so that it is about as large as one of them and no two tasks need to write to one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil, prod, sqrt

import numpy as np

from ddgm.pipeline.spec.layout import (
    Index,
    bytes_of_layers,
    layer_bytes,
    layout_of,
    nearest_divisors,
)
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Block, Plan
from ddgm.pipeline.volumes.box import Box, Triple

LONGEST = 64  # voxels along an image's longest side, from which on there is no coarser level


@dataclass(frozen=True)
class Level:
    """One resolution of all images of a run.

    All are in the order z, y, x.

    Attributes:
        number: 0 is what the blocks write.
        factor: voxels of level 0 along each side of a voxel.
        step: voxels of the level before along each side of a voxel, 1 or 2.
        shape: of the whole array.
        shard: what a file covers, in voxels.
        chunks: within a shard.
        parents: shards of the level before along each side of a shard.
    """

    number: int
    factor: Triple
    step: Triple
    shape: Triple
    shard: Triple
    chunks: Triple
    parents: Triple

    @property
    def grid(self) -> Triple:
        """Shards along each axis."""
        z, y, x = (-(-n // size) for n, size in zip(self.shape, self.shard, strict=True))
        return z, y, x

    def index(self, shard: Shard) -> Index:
        """Index of a shard in the level's array."""
        sides = zip(shard.index, self.shard, self.shape, strict=True)
        return tuple(slice(i * n, min((i + 1) * n, whole)) for i, n, whole in sides)


@dataclass(frozen=True, order=True)
class Shard:
    """The place of a file in each image of a run.

    Attributes:
        level: its level's number.
        index: its place among the level's shards, (z, y, x).
    """

    level: int
    index: Triple

    @property
    def key(self) -> str:
        """Its key in the level's array, as zarr names it."""
        return "/".join(["c", *map(str, self.index)])


@dataclass(frozen=True)
class Pyramid:
    """The levels of a plan's images, and which shard is made of which."""

    plan: Plan

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that are images."""
        return tuple(x for x in self.plan.spec.output.layers if layout_of(self.plan, x).image)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """All levels, the blocks' own first."""
        layout, one = layout_of(self.plan, "reconstruction"), (1, 1, 1)
        shape, shard, chunks = map(_triple, (layout.shape, layout.shard, layout.chunks))
        levels = [Level(0, one, one, shape, shard, chunks, one)]
        while max(levels[-1].shape) > LONGEST:
            levels.append(_coarser(levels[-1], self.plan))
        return tuple(levels)

    def shard_of(self, block: Block) -> Shard:
        """The shard that a block writes."""
        index = layout_of(self.plan, "reconstruction").index(block)
        z, y, x = (i.start // n for i, n in zip(index, self.plan.shard, strict=True))
        return Shard(0, (z, y, x))

    def block_of(self, shard: Shard) -> int:
        """The number of the block that writes a shard of level 0."""
        position = self._positions[self._slab(shard.index)]
        return position * self.plan.blocks_per_slab + shard.index[self.plan.axes[0]]

    def above(self, shard: Shard) -> Shard | None:
        """The shard of the next level that is made of this one; None where it has no next."""
        if shard.level + 1 == len(self.levels):
            return None
        parents = self.levels[shard.level + 1].parents
        z, y, x = (i // n for i, n in zip(shard.index, parents, strict=True))
        return Shard(shard.level + 1, (z, y, x))

    def below(self, shard: Shard) -> list[Shard]:
        """The shards that a shard of a coarser level is made of: those that the plan fills."""
        level, before = self.levels[shard.level], self.levels[shard.level - 1]
        sides = zip(shard.index, level.parents, before.grid, strict=True)
        spans = (range(i * n, min((i + 1) * n, there)) for i, n, there in sides)
        return self._filled(shard.level - 1, *spans)

    def holding(self, level: int, box: Box) -> list[Shard]:
        """The shards of a level that the plan fills, and that have voxels in a box of its array."""
        sides = zip(box.start, box.stop, self.levels[level].shard, strict=True)
        return self._filled(level, *(range(a // n, -(-b // n)) for a, b, n in sides))

    def shards(self, level: int) -> Iterator[Shard]:
        """All shards of a level that the plan fills."""
        z, y, x = map(range, self.levels[level].grid)
        for i, j in product(z, y):
            yield from self._filled(level, range(i, i + 1), range(j, j + 1), x)

    def number_of(self, shard: Shard) -> int:
        """The place of a shard among those of its level, row by row."""
        (z, y, x), (_, rows, columns) = shard.index, self.levels[shard.level].grid
        return (z * rows + y) * columns + x

    @property
    def count(self) -> int:
        """Shards of all coarser levels of one layer."""
        if self._is_full:
            return sum(prod(level.grid) for level in self.levels[1:])
        return sum(1 for _ in self.coarser())

    def coarser(self) -> Iterator[Shard]:
        """The shards of all coarser levels, the finest first."""
        for level in self.levels[1:]:
            yield from self.shards(level.number)

    @cached_property
    def _positions(self) -> dict[int, int]:
        return {slab: position for position, slab in enumerate(self.plan.slabs)}

    @property
    def _is_full(self) -> bool:
        """True if all slabs are chosen."""
        return len(self._positions) == prod(self.plan.grid)

    def _slab(self, index: Triple) -> int:
        _, h, w = self.plan.axes
        return index[h] * self.plan.grid[1] + index[w]

    def _filled(self, level: int, *spans: range) -> list[Shard]:
        """The shards in a box of a level that have a block of the plan below them."""
        found = (Shard(level, (z, y, x)) for z, y, x in product(*spans))
        if self._is_full:
            return list(found)
        return [shard for shard in found if self._has_a_slab(shard)]

    def _has_a_slab(self, shard: Shard) -> bool:
        spans = []
        for axis, there in zip(self.plan.axes[1:], self.plan.grid, strict=True):
            reach = prod(level.parents[axis] for level in self.levels[1 : shard.level + 1])
            first = shard.index[axis] * reach
            spans.append(range(first, min(first + reach, there)))
        rows, columns = spans
        slabs = (i * self.plan.grid[1] + j for i, j in product(rows, columns))
        return any(slab in self._positions for slab in slabs)


def _coarser(level: Level, plan: Plan) -> Level:
    """The level after this one."""
    step = _step(level, plan)
    parents = _parents(level.grid, step)
    factor, shape, shard, chunks = [], [], [], []
    for a in range(3):
        factor.append(level.factor[a] * step[a])
        shape.append(-(-level.shape[a] // step[a]))
        wanted = plan.spec.output.chunks[a]
        if parents[a] >= level.grid[a]:  # a single shard along this axis: no longer than it must be
            chunks.append(-(-shape[a] // max(1, round(shape[a] / wanted))))
            shard.append(-(-shape[a] // chunks[a]) * chunks[a])
        else:
            shard.append(level.shard[a] * parents[a] // step[a])
            chunks.append(*nearest_divisors(shard[-1:], [wanted]))
    sizes = (_triple(values) for values in (factor, step, shape, shard, chunks, parents))
    return Level(level.number + 1, *sizes)


def _step(level: Level, plan: Plan) -> Triple:
    """2 for each axis that is halved: those whose voxels would not end longer than others are.

    Sides that halving would bring no nearer to each other are halved together.
    """
    sides = [n * f for n, f in zip(plan.info.voxel_size_nm, level.factor, strict=True)]
    longest = max(side for side, n in zip(sides, level.shape, strict=True) if n > 1)
    short = [
        n > 1 and side <= longest / sqrt(2) for side, n in zip(sides, level.shape, strict=True)
    ]
    halved = short if any(short) else [n > 1 for n in level.shape]
    return _triple([1 + h for h in halved])


def _parents(grid: Triple, step: Triple) -> Triple:
    """Shards to make one of along each axis, in all as many as voxels are made one of.

    Where an axis has but one, others give more, those along which most are left first.
    """
    parents = [min(n, s) for n, s in zip(grid, step, strict=True)]
    while True:
        left = [-(-n // p) for n, p in zip(grid, parents, strict=True)]
        axis = left.index(max(left))
        if left[axis] == 1 or 2 * prod(parents) > prod(step):
            return _triple(parents)
        parents[axis] *= 2


def _triple(values: Sequence[int]) -> Triple:
    z, y, x = values
    return z, y, x


def level_bytes(plan: Plan) -> int:
    """Bytes of all coarser levels of all layers, before compression."""
    pyramid = Pyramid(plan)
    share = sum(1 / prod(level.factor) for level in pyramid.levels[1:])
    return ceil(share * sum(layer_bytes(plan, layer) for layer in pyramid.layers))


def copy_bytes(plan: Plan) -> int:
    """Bytes of the reconstruction and its levels in another format, if the spec asks for one."""
    if plan.spec.output.also is None:
        return 0
    dtype = np.dtype(plan.spec.output.dtype)
    return dtype.itemsize * sum(prod(level.shape) for level in Pyramid(plan).levels)


def bytes_to_write(plan: Plan) -> int:
    """Bytes of all layers and levels, and of their copies, before compression."""
    return bytes_of_layers(plan) + level_bytes(plan) + copy_bytes(plan)
