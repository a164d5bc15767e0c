"""The levels of a run: how far they go, which axes they halve, and what each shard is made of."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.spec.levels import Level, Pyramid, Shard
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.coordinates import Point
from ddgm.pipeline.volumes.volume import VolumeInfo
from tests.pipeline.runs import spec_data

Shape = tuple[int, int, int]


def pyramid(shape: Shape, size: Point = (8, 8, 8), **parts: dict[str, Any]) -> Pyramid:
    """Of a volume of that shape, in blocks of 32 slices along x and slabs of 128."""
    start = (5, 7, 9)
    stop = tuple(a + n for a, n in zip(start, shape, strict=True))
    info = VolumeInfo(Box(start, stop), size, "uint8", (64, 64, 64), 1, 0)  # type: ignore[arg-type]
    parts = {"slab": {"thickness": 128}, "block": {"slices": 32}, **parts}
    data = spec_data("a", "run", Path("w"), **parts)
    data["output"]["chunks"] = [64, 64, 64]
    return Pyramid(make_plan(Spec.model_validate(data), info))


def covered(level: Level) -> int:
    """Voxels in the largest shard of a level."""
    return prod(map(min, level.shard, level.shape))


def test_levels_are_halved_down_to_64_voxels() -> None:
    levels = pyramid((512, 1568, 320)).levels
    assert [level.shape for level in levels] == [
        (512, 1568, 320),
        (256, 784, 160),
        (128, 392, 80),
        (64, 196, 40),
        (32, 98, 20),
        (16, 49, 10),
    ]
    assert [level.factor for level in levels] == [(2**n,) * 3 for n in range(6)]
    assert [level.chunks for level in levels[:3]] == [(64, 56, 32), (64, 66, 64), (64, 66, 80)]


def test_odd_sizes_are_rounded_up_and_a_small_image_has_one_level() -> None:
    assert [level.shape for level in pyramid((128, 131, 33)).levels] == [
        (128, 131, 33),
        (64, 66, 17),
        (32, 33, 9),
    ]
    small = pyramid((32, 64, 16), slab={"thickness": 32}, block={"slices": 8})
    assert len(small.levels) == 1


def test_the_short_axes_are_halved_until_voxels_are_isotropic() -> None:
    found = pyramid((128, 1024, 1024), (40.0, 4.0, 4.0))
    factors = [level.factor for level in found.levels]
    assert factors == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8), (2, 16, 16)]
    uneven = pyramid((256, 512, 512), (8.0, 16.0, 4.0)).levels[:4]
    assert [level.factor for level in uneven] == [(1, 1, 1), (2, 1, 2), (2, 1, 4), (4, 2, 8)]


def test_an_axis_of_one_voxel_is_left_alone() -> None:
    levels = pyramid((128, 1024, 2), (8.0, 8.0, 1.0)).levels
    assert [level.factor for level in levels] == [
        (1, 1, 1),
        (1, 1, 2),
        (2, 2, 2),
        (4, 4, 2),
        (8, 8, 2),
        (16, 16, 2),
    ]


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((512, 1568, 320), {}),
        ((128, 1568, 3200), {}),  # one slab: blocks are long enough eight by eight
        ((256, 700, 333), {"slab": {"thickness": 64, "width": 100}}),
        ((200, 150, 100), {"slab": {"thickness": 33}, "block": {"slices": 5, "batch": 5}}),
        ((512, 512, 96), {"slab": {"thickness": 64, "width": 64, "slabs": [0, 1, 9, 63]}}),
        ((300, 256, 256), {"slab": {"tilt_axis": "z", "thickness_axis": "x", "thickness": 64}}),
    ],
)
def test_each_shard_is_made_of_whole_shards_of_the_level_before(
    shape: Shape, parts: dict[str, Any]
) -> None:
    """Every one has one child, covers what its parents cover, and is no larger than one of them."""
    found = pyramid(shape, **parts)
    first = {found.shard_of(block): block.index for block in found.plan.blocks()}
    assert set(found.shards(0)) == set(first)
    assert {shard: found.block_of(shard) for shard in first} == first
    assert len(found.levels) > 1
    coarser = 0
    for level, before in zip(found.levels[1:], found.levels, strict=False):
        assert prod(level.parents) <= prod(level.step)
        assert all(n % c == 0 for n, c in zip(level.shard, level.chunks, strict=True))
        assert covered(level) <= 1.1 * covered(before)
        shards = list(found.shards(level.number))
        coarser += len(shards)
        parents = [parent for shard in shards for parent in found.below(shard)]
        assert sorted(parents) == sorted(found.shards(before.number))
        for shard in shards:
            assert {found.above(parent) for parent in found.below(shard)} == {shard}
            for parent in found.below(shard):
                for own, theirs, step in zip(
                    level.index(shard), before.index(parent), level.step, strict=True
                ):
                    assert own.start * step <= theirs.start
                    assert theirs.stop <= own.stop * step
    assert found.count == coarser
    assert found.above(Shard(found.levels[-1].number, (0, 0, 0))) is None


def test_there_are_about_as_many_coarser_shards_as_an_eighth_of_the_blocks() -> None:
    for shape in ((1024, 3136, 3200), (128, 1568, 32000)):
        found = pyramid(shape, slab={"thickness": 128, "width": 1568})
        assert found.count <= 0.2 * found.plan.block_count
