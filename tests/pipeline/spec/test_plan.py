"""Plans: every slice in one block, every block a whole shard, at any shape."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.spec.layout import layout_of, nearest_divisors
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, PlanError, make_plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo

BOUNDS = Box((5, -3, 100), (75, 57, 161))  # 70 x 60 x 61
INFO = VolumeInfo(BOUNDS, (16.0, 16.0, 16.0), "uint8", (64, 64, 64), 1, 0)


def plan(info: VolumeInfo = INFO, source: dict[str, Any] | None = None, **slab: Any) -> Plan:
    spec = {
        "source": {"url": "a", **(source or {})},
        "slab": {"thickness": 16, **slab},
        "tilts": {"count": 4},
        "output": {"path": "run", "layers": ["reconstruction", "sinogram"], "chunks": [8, 8, 8]},
        "block": {"slices": 8, "batch": 4},
    }
    return make_plan(Spec.model_validate(spec), info)


@pytest.mark.parametrize("axes", list(permutations("zyx")))
@pytest.mark.parametrize("width", [None, 20])
def test_blocks_cover_the_region_once_and_each_is_one_shard(
    axes: tuple[str, str, str], width: int | None
) -> None:
    p = plan(tilt_axis=axes[0], thickness_axis=axes[1], width_axis=axes[2], width=width)
    for layer in ("reconstruction", "sinogram"):
        layout = layout_of(p, layer)
        seen, shards = np.zeros(layout.shape, int), set()
        for block in p.blocks():
            index, shard = layout.index(block), layout.shard
            seen[index] += 1
            assert all(i.start % n == 0 for i, n in zip(index, shard, strict=True))
            assert all(i.stop - i.start <= n for i, n in zip(index, shard, strict=True))
            shards.add(layout.key(block))
        assert (seen == 1).all()
        assert len(shards) == p.block_count
        pairs = zip(layout.shard, layout.chunks, strict=True)
        assert all(shard % chunk == 0 for shard, chunk in pairs)


def test_places_are_the_slices_corners_in_the_volume() -> None:
    p = plan(tilt_axis="x", thickness_axis="z", width_axis="y")
    last = p.block(p.blocks_per_slab * 2 - 1)  # of the second slab; a short one
    assert last.slab == 1
    assert last.box == Box((21, -3, 156), (37, 57, 161))
    assert last.origins == tuple((21, -3, x) for x in range(156, 161))
    assert last.first == 56


def test_the_box_and_what_is_left_over() -> None:
    p = plan(source={"box": {"z": [10, 60], "y": [0, 50], "x": [101, 131]}}, width=20)
    assert p.region == Box((10, 0, 101), (58, 40, 131))
    assert p.uncovered == {"z": 2, "y": 10}
    assert p.slice_count == 3 * 2 * 30
    assert p.block_count == 6 * 4


def test_chosen_slabs_are_the_only_ones_and_keep_their_place() -> None:
    whole, some = plan(width=20), plan(width=20, slabs=[7, 2])
    assert some.block_count == 2 * some.blocks_per_slab
    first = some.block(0)
    same = whole.block(7 * whole.blocks_per_slab)
    assert (first.box, first.slab, first.origins) == (same.box, 7, same.origins)
    assert layout_of(some, "reconstruction").shape == layout_of(whole, "reconstruction").shape


@pytest.mark.parametrize(
    ("source", "slab", "message"),
    [
        ({"box": {"z": [0, 60], "y": [0, 50], "x": [101, 131]}}, {}, "source.box: z 0:60"),
        ({}, {"thickness": 71}, "slab.thickness: 71 is more than the box's 70 voxels along z"),
        ({}, {"width": 61}, "slab.width: 61 is more than the box's 60 voxels along y"),
        ({}, {"slabs": [4]}, "there is no slab 4; the box has 0 to 3"),
        ({}, {"slabs": [1, 1]}, "each slab once"),
        ({"box": {"z": [5, 60], "y": [0, 9], "x": [101, 131]}}, {}, "slab.width: 9 is below 11"),
    ],
)
def test_a_spec_that_does_not_fit_its_volume_is_refused(
    source: dict[str, Any], slab: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanError) as error:
        plan(source=source, **slab)
    assert message in str(error.value)


def test_grey_levels_that_uint8_would_clip_are_refused() -> None:
    wide = VolumeInfo(BOUNDS, (16.0, 16.0, 16.0), "uint16", (64, 64, 64), 1, 0)
    with pytest.raises(PlanError, match="the volume is uint16"):
        plan(wide)
    with pytest.raises(PlanError, match="uint8 cannot hold"):
        plan(wide, source={"intensity": {"mean": 30000, "std": 500}})


def test_a_plan_of_a_million_blocks_costs_nothing() -> None:
    huge = VolumeInfo(Box((0, 0, 0), (1600, 16, 80_000_00)), (1, 1, 1), "uint8", (64, 64, 64), 1, 0)
    p = plan(huge)
    assert p.block_count == 100_000_000
    assert p.block(p.block_count - 1).box.stop == (1600, 16, 8_000_000)
    assert next(p.blocks()).index == 0


@pytest.mark.parametrize(
    ("n", "wanted", "nearest"),
    [(1568, 64, 56), (128, 64, 64), (157, 64, 157), (100, 64, 50), (32, 64, 32), (12, 5, 6)],
)
def test_chunks_are_divisors_near_what_was_asked(n: int, wanted: int, nearest: int) -> None:
    assert nearest_divisors((n,), (wanted,)) == (nearest,)
