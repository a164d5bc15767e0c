"""The bytes of a source that a run fetches, and the cache that has chunks fetched once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.volumes.box import Box

SAMPLED = 64  # slabs or blocks that are looked at to count source chunks; they repeat
ENTRY = 1000  # bytes that a chunk in the cache takes beside its voxels, at most
MOST_CACHED = 500_000_000  # bytes of a worker; chunks of a block that are more are not kept


@dataclass(frozen=True)
class Fetch:
    """Source bytes, before the source's own compression.

    Attributes:
        needed: bytes of the voxels themselves.
        touched: bytes of all chunks that are read for them: once for each slab, where a worker's
            cache holds a block's; otherwise once for each block.
    """

    needed: int
    touched: int


def fetch_bytes(plan: Plan) -> Fetch:
    """Bytes to fetch, with what chunks that slabs, or blocks, cut through cost."""
    info = plan.info
    item = np.dtype(info.dtype).itemsize
    if info.views is not None:  # rows of the used views, a square of the stack's pixels to a voxel
        pixels = plan.slice_count * plan.geometry.width * plan.spec.source.binning**2
        rows = len(info.views) * pixels * item
        return Fetch(rows, rows)
    parts = list(_read_together(plan))
    voxels = sum(prod(own.shape) for own, _ in parts)
    touched = sum(_chunks(plan, box) for _, boxes in parts for box in boxes)
    pixels = plan.slice_count * plan.geometry.thickness * plan.geometry.width
    needed = int(pixels * item * info.stored_voxels)
    return Fetch(needed, int(needed * touched * prod(info.chunk_shape) / voxels))


def cache_bytes(plan: Plan) -> int:
    """Bytes of the chunks that a block can touch, decoded: a worker keeps so many of those it read.

    With them the next block of its slab finds all chunks that both read. 0 where they are not kept:
    of a measured series, which has none, and where they are too many.
    """
    info = plan.info
    if info.views is not None:
        return 0
    t, h, w = plan.axes
    sizes = {t: plan.block_slices, h: plan.geometry.thickness, w: plan.geometry.width}
    margin = 0 if info.stored_size_nm is None else 1  # a resampled voxel is made of some around it
    counts = [_most_chunks(sizes[axis], n) + 2 * margin for axis, n in enumerate(info.chunk_shape)]
    chunk = prod(info.chunk_shape) * info.stored_voxels * np.dtype(info.dtype).itemsize
    needed = ceil(prod(counts) * (chunk + ENTRY))
    return needed if needed <= MOST_CACHED else 0


def sharing(plan: Plan) -> Callable[[int], bool]:
    """A function that says of a block whether chunks that it reads are left of the one before."""
    if not cache_bytes(plan):
        return lambda block: False
    per_slab, slices, axis = plan.blocks_per_slab, plan.spec.block.slices, plan.axes[0]
    overlaps = plan.halo > 0 or plan.info.stored_size_nm is not None
    first = plan.box.start[axis] - plan.info.bounds.start[axis]
    chunk = plan.info.chunk_shape[axis]

    def shares(block: int) -> bool:
        along = block % per_slab
        return along > 0 and (overlaps or (first + along * slices) % chunk != 0)

    return shares


def _read_together(plan: Plan) -> Iterator[tuple[Box, tuple[Box, ...]]]:
    """Boxes of which each chunk is read once: what is reconstructed there, and what is read."""
    t, per_slab = plan.axes[0], plan.blocks_per_slab
    if cache_bytes(plan):
        count = len(plan.slabs)
        for slab in range(0, count, max(1, count // SAMPLED)):
            box = plan.block(slab * per_slab).box.between(t, plan.box.start[t], plan.box.stop[t])
            yield box, (box,)
        return
    for index in range(0, plan.block_count, max(1, plan.block_count // SAMPLED)):
        block = plan.block(index)
        yield block.box, plan.reads(block)


def _chunks(plan: Plan, box: Box) -> int:
    """Source chunks that a box touches."""
    spans = zip(box.start, box.stop, plan.info.bounds.start, plan.info.chunk_shape, strict=True)
    return prod(-((o - b) // n) - (a - o) // n for a, b, o, n in spans)


def _most_chunks(voxels: int, chunk: int) -> int:
    """Chunks of an axis that so many voxels in a row can touch."""
    return (voxels + chunk - 2) // chunk + 1
