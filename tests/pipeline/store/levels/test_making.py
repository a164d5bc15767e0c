"""Coarser levels: made of what blocks wrote, the same bytes in any order, after any crash."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from ome_zarr_models.common.omero import Omero
from ome_zarr_models.v05.image import Image

from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.levels import Pyramid, Shard
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.store.arrays import checksum
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.levels.making import Levels
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.ome_zarr import ome_levels
from ddgm.pipeline.volumes.volume import VolumeInfo
from tests.pipeline.runs import spec_data
from tests.pipeline.store.levels.test_means import Steps, expected

pytestmark = pytest.mark.long

BOX = Box((10, 20, 7), (10 + 99, 20 + 131, 7 + 23))
INFO = VolumeInfo(BOX, (8, 8, 8), "uint8", (32, 32, 32), 1, 0)
FIRST, LAST = Shard(1, (0, 0, 0)), Shard(2, (0, 0, 0))


def made(root: Path, **parts: dict[str, Any]) -> Levels:
    """The levels of a run that has no block yet: three slabs of 33, five blocks of 5 slices."""
    parts = {"slab": {"thickness": 33}, "block": {"slices": 5, "batch": 5}, **parts}
    data = spec_data("a", root, Path("w"), **parts)
    data["output"]["layers"] = ["reconstruction", "truth", "sinogram", "spread"]
    data["method"]["samples"] = 2
    plan = make_plan(Spec.model_validate(data), INFO)
    run = RunStore(str(root))
    run.prepare(plan, {"digest": "d", "spec": {}, "levels": Pyramid(plan).levels[-1].number})
    return Levels(run, plan, "d")


def data_of(plan: Plan, index: int, seed: int = 0) -> dict[Layer, np.ndarray]:
    rng = np.random.default_rng([seed, index])
    found: dict[Layer, np.ndarray] = {}
    for name in plan.spec.output.layers:
        layout = layout_of(plan, name)
        shape = [s.stop - s.start for s in layout.index(plan.block(index))]
        found[name] = (rng.random(shape) * 255).astype(layout.dtype)
    return found


def finish(
    levels: Levels,
    index: int,
    climb: bool = True,
    seed: int = 0,
    data: dict[Layer, np.ndarray] | None = None,
) -> None:
    """A block's end: its data, its record, and what can be made of it."""
    block = levels.plan.block(index)
    data = data or data_of(levels.plan, index, seed)
    written = levels.store.write(levels.plan, block, data)
    record = Record(
        index, "d", "done", checksums=written.checksums, sizes=written.sizes, finished=""
    )
    levels.store.ledger.put(record)
    if climb:
        levels.climb(index)


def files(root: Path) -> dict[str, bytes]:
    """All of the volume and of the ledger's records of levels."""
    found = [*(root / "volume.zarr").rglob("*"), *(root / "ledger/levels").rglob("*")]
    return {str(p.relative_to(root)): p.read_bytes() for p in found if p.is_file()}


def image(levels: Levels, layer: str, level: int) -> np.ndarray:
    path = f"{levels.store.root}/volume.zarr/{layer}/{level}"
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    return np.asarray(tensorstore.open(spec).result().read().result())


def faults(levels: Levels) -> list[str]:
    pyramid = levels.pyramid
    found = (levels.fault(shard, pyramid.layers) for shard in pyramid.coarser())
    return [fault for fault in found if fault is not None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Levels:
    """A run whose blocks finished one after the other."""
    levels = made(tmp_path_factory.mktemp("levels") / "run")
    for index in range(levels.plan.block_count):
        finish(levels, index)
    return levels


def test_levels_are_the_area_means_of_level_0(whole: Levels) -> None:
    assert [level.factor for level in whole.pyramid.levels] == [(1,) * 3, (2,) * 3, (4,) * 3]
    assert whole.pyramid.count == 5
    for layer in whole.pyramid.layers:
        for level in whole.pyramid.levels[1:]:
            found, below = (image(whole, layer, level.number - n) for n in (0, 1))
            assert found.shape == level.shape
            np.testing.assert_array_equal(found, expected(below, level.step))
    assert not (Path(whole.store.root) / "volume.zarr/sinogram/1").exists()
    assert faults(whole) == []


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_blocks_gives_the_same_bytes(whole: Levels, tmp_path: Path, seed: int) -> None:
    levels = made(tmp_path / "run")
    order = list(range(levels.plan.block_count))
    random.Random(seed).shuffle(order)
    for index in order:
        finish(levels, index)
    assert files(tmp_path / "run") == files(Path(whole.store.root))


def test_of_blocks_that_end_at_once_the_last_finds_them_all(whole: Levels, tmp_path: Path) -> None:
    levels = made(tmp_path / "run")
    blocks = range(levels.plan.block_count)
    for index in blocks:
        finish(levels, index, climb=False)
    assert "not there" in faults(levels)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(levels.climb, blocks))
    assert files(tmp_path / "run") == files(Path(whole.store.root))


def test_a_shard_waits_for_all_below_it(tmp_path: Path) -> None:
    levels = made(tmp_path / "run")
    below = [levels.pyramid.block_of(s) for s in levels.pyramid.below(FIRST)]
    for index in below[1:]:
        finish(levels, index)
        assert levels.ledger.record(FIRST) is None
    assert faults(levels) == []
    finish(levels, below[0])
    assert levels.ledger.record(FIRST) is not None
    assert levels.ledger.record(LAST) is None


def test_what_a_crash_left_out_is_made_at_the_end(whole: Levels, tmp_path: Path) -> None:
    """No record, half a file, a torn record: as if all of it had never been."""
    levels = made(tmp_path / "run")
    for index in range(levels.plan.block_count):
        finish(levels, index, climb=index != 7)
    name = tmp_path / f"run/volume.zarr/truth/1/{FIRST.key}"
    name.write_bytes(name.read_bytes()[:100])
    (tmp_path / "run/ledger/levels/1/000/000001.json").write_bytes(b"")
    assert list(levels.complete()) == [None] * levels.pyramid.count
    assert files(tmp_path / "run") == files(Path(whole.store.root))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    list(levels.complete())
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before


def test_above_a_block_that_was_given_up_levels_are_of_what_there_is(
    whole: Levels, tmp_path: Path
) -> None:
    levels = made(tmp_path / "run")
    for index in range(levels.plan.block_count):
        if index != 3:
            finish(levels, index)
    levels.store.ledger.put(Record(3, "d", "failed", cause="why"))
    list(levels.complete())
    step: Steps = (2, 2, 2)
    lost = layout_of(levels.plan, "truth").index(levels.plan.block(3))
    assert not image(levels, "truth", 0)[lost].any()
    for level in (1, 2):
        np.testing.assert_array_equal(
            image(levels, "truth", level), expected(image(levels, "truth", level - 1), step)
        )
    assert faults(levels) == []
    finish(levels, 3)
    assert files(tmp_path / "run") == files(Path(whole.store.root))


def test_above_a_block_with_other_data_all_is_made_anew(whole: Levels, tmp_path: Path) -> None:
    levels = made(tmp_path / "run")
    for index in range(levels.plan.block_count):
        finish(levels, index, seed=index == 2)
    before = files(tmp_path / "run")
    assert before != files(Path(whole.store.root))
    finish(levels, 2, climb=False)
    assert faults(levels)[0] == "made of other data than are there now"
    list(levels.complete())
    assert files(tmp_path / "run") == files(Path(whole.store.root))


def test_nothing_is_made_of_damaged_data(tmp_path: Path) -> None:
    levels = made(tmp_path / "run")
    for index in range(levels.plan.block_count):
        finish(levels, index, climb=False)
    shard = tmp_path / "run/volume.zarr/truth/0/c/0/0/0"
    good = shard.read_bytes()
    shard.write_bytes(good[:50] + bytes([good[50] ^ 1]) + good[51:])
    (fault,) = [fault for fault in levels.complete() if fault]
    assert "volume.zarr/truth/0/c/0/0/0" in str(fault)
    assert levels.ledger.record(FIRST) is None
    index = layout_of(levels.plan, "truth").index(levels.plan.block(0))
    shard.unlink()
    levels.store.arrays.array("truth", "r+")[index] = data_of(levels.plan, 0, seed=9)["truth"]
    (fault,) = [fault for fault in levels.complete() if fault]
    assert "is not what was written" in str(fault)


def test_levels_without_a_block_below_are_removed(tmp_path: Path) -> None:
    levels = made(tmp_path / "run")
    for index in range(levels.plan.block_count):
        finish(levels, index)
    for index in range(levels.plan.block_count):
        levels.store.ledger.forget(index)
    list(levels.complete())
    assert not [name for name in files(tmp_path / "run") if "levels" in name or "/1/c/" in name]


def test_slabs_that_were_not_chosen_are_zero(tmp_path: Path) -> None:
    levels = made(tmp_path / "run", slab={"thickness": 33, "slabs": [2, 0]})
    for index in reversed(range(levels.plan.block_count)):
        finish(levels, index)
    assert faults(levels) == []
    assert levels.ledger.record(LAST) is not None
    for level in (1, 2):
        below = image(levels, "spread", level - 1)
        np.testing.assert_array_equal(image(levels, "spread", level), expected(below, (2, 2, 2)))
    record = levels.ledger.record(LAST)
    assert record is not None
    assert record.checksums["spread"] == checksum(image(levels, "spread", 2))


def test_a_bright_voxel_is_at_one_place_in_all_levels(whole: Levels, tmp_path: Path) -> None:
    """By the metadata that others read, and the project's own reader of them."""
    levels = made(tmp_path / "run")
    blocks = list(levels.plan.blocks())
    place = np.array([41, 77, 18])
    for block in blocks:
        data = data_of(levels.plan, block.index)
        for values in data.values():
            values[:] = 0
        local = place - [s.start for s in layout_of(levels.plan, "truth").index(block)]
        if all(0 <= i < n for i, n in zip(local, data["truth"].shape, strict=True)):
            data["truth"][tuple(local)] = 255
        finish(levels, block.index, data=data)
    group = zarr.open_group(f"{levels.store.root}/volume.zarr/truth", mode="r")
    corner = np.array(levels.plan.region.start) + place  # of the voxel, in voxels of 8 nm
    for number, level in enumerate(ome_levels(dict(group.attrs))):
        assert level.voxel_size_nm is not None
        assert level.origin_nm is not None
        brightest = np.argwhere(image(levels, "truth", number))
        assert len(brightest) == 1
        low = np.array(level.origin_nm) + brightest[0] * level.voxel_size_nm
        assert (low <= corner * 8).all()
        assert ((corner + 1) * 8 <= low + level.voxel_size_nm).all()


def test_others_read_the_levels(whole: Levels) -> None:
    for layer in whole.pyramid.layers:
        group = zarr.open_group(f"{whole.store.root}/volume.zarr/{layer}", mode="r")
        ome = Image.from_zarr(group).attributes.ome
        assert [dataset.path for dataset in ome.multiscales[0].datasets] == ["0", "1", "2"]
        (channel,) = Omero.model_validate(group.attrs["ome"]["omero"]).channels  # type: ignore[index]
        shown = {"spread": (0, 64)}.get(layer, (0, 255))
        assert (channel.window.start, channel.window.end) == shown
        for level in whole.pyramid.levels:
            array = group[str(level.number)]
            assert isinstance(array, zarr.Array)
            assert array.metadata.dimension_names == ("z", "y", "x")  # type: ignore[union-attr]
            np.testing.assert_array_equal(array[:], image(whole, layer, level.number))
