"""The layout of each layer of a run: one array, of which every block is one whole shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import AXES, Block, Plan

Index = tuple[slice, ...]


@dataclass(frozen=True)
class LayerLayout:
    """A layer's array, and where blocks and their slices lie in it.

    A block's data are a stack, its slices first: (n, thickness, width) of images, (n, views,
    bins) of sinograms. All shapes are in the order of `dimensions`.

    Attributes:
        layer: its name.
        dimensions: names of the array's axes.
        shape: of the whole array.
        shard: what a full block covers.
        chunks: within a shard.
        dtype: of its values.
        image: whether it lies on the source volume, voxel by voxel.
        axes: positions of a stack's axes among the array's last three.
        index: where a block lies.
    """

    layer: Layer
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    shard: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    image: bool
    axes: tuple[int, int, int]
    index: Callable[[Block], Index]

    def slice_index(self, block: Block, k: int) -> Index:
        """Index of a block's slice k in the layer's array."""
        index = list(self.index(block))
        along = self.axes[0] - 3
        start = index[along].start + k
        index[along] = slice(start, start + 1)
        return tuple(index)

    def stored(self, stack: np.ndarray) -> np.ndarray:
        """A stack in the array's axes, C-contiguous."""
        own = stack.transpose(np.argsort(self.axes))
        return np.ascontiguousarray(own.reshape(*(1,) * (len(self.shape) - 3), *own.shape))

    def stack(self, stored: np.ndarray) -> np.ndarray:
        """A block, or some slices of one, as a stack: what `stored` was made of."""
        return stored.reshape(stored.shape[-3:]).transpose(self.axes)

    def key(self, block: Block) -> str:
        """The key of a block's shard, as zarr names it."""
        starts = zip(self.index(block), self.shard, strict=True)
        return "/".join(["c", *(str(i.start // n) for i, n in starts)])


def layout_of(plan: Plan, layer: Layer) -> LayerLayout:
    """The layout of one layer of a plan."""
    dtype = plan.spec.output.dtype_of(layer)
    if layer == "sinogram":
        return _sinograms(plan, dtype)
    start = plan.region.start
    return LayerLayout(
        layer=layer,
        dimensions=tuple(AXES),
        shape=plan.region.shape,
        shard=plan.shard,
        chunks=nearest_divisors(plan.shard, plan.spec.output.chunks),
        dtype=dtype,
        image=True,
        axes=plan.axes,
        index=lambda block: block.box.slices(start),
    )


def _sinograms(plan: Plan, dtype: str) -> LayerLayout:
    """A chunk is one slice's sinogram."""
    views, bins = plan.geometry.views, plan.geometry.bins

    def index(block: Block) -> Index:
        last = block.first + len(block.origins)
        slab, slices = slice(block.slab, block.slab + 1), slice(block.first, last)
        return slab, slices, slice(0, views), slice(0, bins)

    return LayerLayout(
        layer="sinogram",
        dimensions=("slab", "slice", "view", "bin"),
        shape=(plan.grid[0] * plan.grid[1], plan.slices, views, bins),
        shard=(1, plan.spec.block.slices, views, bins),
        chunks=(1, 1, views, bins),
        dtype=dtype,
        image=False,
        axes=(0, 1, 2),
        index=index,
    )


def shard_keys(plan: Plan, layout: LayerLayout, blocks: np.ndarray) -> list[str]:
    """The keys of many blocks' shards: `layout.key` of each, without making the blocks."""
    position, along = np.divmod(blocks, plan.blocks_per_slab)
    slab = np.array(plan.slabs)[position]
    places = np.zeros((len(blocks), len(layout.shape)), np.int64)
    if layout.image:
        rows, columns = np.divmod(slab, plan.grid[1])
        places[:, layout.axes] = np.stack([along, rows, columns], 1)
    else:
        places[:, 0], places[:, 1] = slab, along
    return ["c/" + "/".join(map(str, place)) for place in places.tolist()]


def layer_bytes(plan: Plan, layer: Layer) -> int:
    """Bytes of the chosen slabs of one layer, before compression."""
    layout = layout_of(plan, layer)
    slices = plan.spec.block.slices  # of a full block, whose bytes a shard has
    return plan.slice_count * prod(layout.shard) // slices * np.dtype(layout.dtype).itemsize


def bytes_of_layers(plan: Plan) -> int:
    """Bytes of all layers as blocks write them, before compression."""
    return sum(layer_bytes(plan, layer) for layer in plan.spec.output.layers)


def nearest_divisors(shape: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """Divisors of `shape`, on each axis the nearest to `wanted` in ratio; of two, the larger."""

    def nearest(n: int, wanted: int) -> int:
        small = [d for d in range(1, isqrt(n) + 1) if n % d == 0]
        divisors = [*small, *(n // d for d in small)]
        return min(divisors, key=lambda d: (max(d / wanted, wanted / d), -d))

    return tuple(nearest(n, w) for n, w in zip(shape, wanted, strict=True))
