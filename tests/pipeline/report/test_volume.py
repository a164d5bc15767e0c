"""What a report says of a run as a volume: its planes, and the joins of its blocks."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddgm.pipeline.report.gallery import Mark
from ddgm.pipeline.report.joins import joined_blocks, measured_joins
from ddgm.pipeline.report.planes import planes_galleries, planes_through
from ddgm.pipeline.report.run_data import load_run_data
from ddgm.pipeline.report.slices import view_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.box import Box
from tests.pipeline.report.reported import (
    ALL,
    FIRST,
    THICKNESS,
    WIDTH,
    change_metrics,
    make,
    numbers,
    page,
)

pytestmark = pytest.mark.long


def test_planes_are_those_of_the_stored_layers_through_the_middle_of_a_block(long: str) -> None:
    run = load_run_data(RunStore(long))
    planes = planes_through(run, view_of(run, 5))  # in the second block
    assert planes is not None
    z, y, x = THICKNESS // 2, WIDTH // 2, 6
    assert (planes.block, planes.point) == (1, (z, y, FIRST + x))
    assert planes.joins == (4, 8)
    assert list(planes.images) == ["reconstruction", "truth", "algebraic"]
    for layer, images in planes.images.items():
        stored = np.asarray(RunStore(long).arrays.array(layer)[:, :, :12])  # what is finished
        np.testing.assert_array_equal(images[0], stored[:, :, x])
        np.testing.assert_array_equal(images[1], stored[z].T)
        np.testing.assert_array_equal(images[2], stored[:, y])
    upright, across, along = planes_galleries(run, planes)
    assert [p.panel.title for p in across.pictures] == ["DDGM", "Truth", "Algebraic"]
    np.testing.assert_array_equal(across.pictures[1].panel.image, planes.images["truth"][1])
    joins = Mark("join", "top", 4 / 12), Mark("join", "top", 8 / 12)
    points = Mark("point", "top", 6.5 / 12), Mark("point", "left", (y + 0.5) / WIDTH)
    assert set(across.pictures[0].marks) == {*joins, *points}
    assert {mark.kind for mark in upright.pictures[0].marks} == {"point"}
    assert {(m.kind, m.side) for m in along.pictures[0].marks} >= {("join", "left")}


def test_a_layer_that_cannot_be_read_costs_its_own_planes_only(long: str, tmp_path: Path) -> None:
    root = shutil.copytree(long, tmp_path / "run").as_posix()
    for shard in Path(root).glob("volume.zarr/truth/0/c/**/*"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:200])
    run = load_run_data(RunStore(root))
    planes = planes_through(run, view_of(run, 5))
    assert planes is not None
    assert list(planes.images) == ["reconstruction", "algebraic"]
    assert measured_joins(run) is None


def test_a_join_beside_a_block_that_is_not_there_counts_for_nothing(
    long: str, tmp_path: Path
) -> None:
    root = shutil.copytree(long, tmp_path / "run").as_posix()
    (Path(root) / "volume.zarr/reconstruction/0/c/0/0/2").unlink()
    joins = measured_joins(load_run_data(RunStore(root)))
    assert joins is not None
    assert np.isfinite(joins.seams("reconstruction")).tolist() == [True, False]
    assert np.isfinite(joins.seams("algebraic")).all()


def test_joins_are_steps_between_blocks_over_those_beside_over_the_truths(long: str) -> None:
    run = load_run_data(RunStore(long))
    assert joined_blocks(run).tolist() == [1, 2]
    joins = measured_joins(run)
    assert joins is not None
    wanted = {}
    for layer in ALL[:3]:
        stored = np.asarray(RunStore(long).arrays.array(layer)[:, :, :12]).astype(float)
        steps = np.abs(np.diff(stored, axis=2)).mean(axis=(0, 1))
        # three steps within each of the two blocks, and that between them
        beside = [[0, 1, 2, 4, 5, 6], [4, 5, 6, 8, 9, 10]]
        wanted[layer] = [steps[k] / steps[b].mean() for k, b in zip((3, 7), beside, strict=True)]
    for layer in ("reconstruction", "algebraic"):
        expected = np.divide(wanted[layer], wanted["truth"])
        assert joins.seams(layer) == pytest.approx(expected, rel=1e-5)
    shown = page(long)
    _, ours, algebraic, _ = shown.row("Joins of blocks")
    assert numbers(ours)[0] == pytest.approx(joins.seams("reconstruction").mean(), abs=5.1e-5)
    assert numbers(algebraic)[0] == pytest.approx(joins.seams("algebraic").mean(), abs=5.1e-5)
    assert "about 2 of the 2 joins" in shown.text


@pytest.mark.parametrize(
    ("slices", "done", "joins"),
    [
        (8, [0, 1, 2, 3], [1, 3]),  # two slabs of two blocks
        (20, [0, 2, 3, 4, 5, 6], [3, 4, 6]),  # of five
        (9, [0, 1, 2, 3, 4, 5], [1, 4]),  # of three, the last of one slice
    ],
)
def test_blocks_are_joined_within_a_slab_where_both_are_done(
    long: str, slices: int, done: list[int], joins: list[int]
) -> None:
    run = load_run_data(RunStore(long))
    shape = (2 * THICKNESS, WIDTH, slices)
    info = replace(run.plan.info, bounds=Box((0, 0, 0), shape))
    columns = {"block": np.array([float(block) for block in done for _ in range(3)])}
    found = joined_blocks(replace(run, plan=replace(run.plan, info=info), columns=columns))
    assert found.tolist() == joins


@pytest.mark.usefixtures("unpainted")
def test_the_page_has_the_volumes_scores_and_says_which_it_lacks(long: str, tmp_path: Path) -> None:
    long = shutil.copytree(long, tmp_path / "run").as_posix()
    change_metrics(long, "neighbours", [0.5, 0.7] * 6)
    shown = page(long)
    assert numbers(shown.row("Step to the next slice")[1])[0] == 0.6
    assert "Blocks of fewer than 11 slices have no SSIM in planes across them" in shown.text
    median = re.search(r"median MSE, slice x = (\d+)", shown.text)
    assert median is not None
    block = (int(median[1]) - FIRST) // 4
    where = f"through z = 16, y = 70, x = {FIRST + 4 * block + 2}, the middle of block {block},"
    assert where in shown.text
    change_metrics(long, "ssim_across", [0.25] * 12)
    shown = page(long)
    assert numbers(shown.row("Across the beam")[1])[0] == 0.25
    assert "Blocks of fewer than" not in shown.text
    assert "continued by reflection" not in shown.text  # each slice was solved alone


@pytest.mark.usefixtures("unpainted")
def test_the_page_says_that_slices_were_coupled_and_stacks_continued(runs: Path) -> None:
    shown = page(make(runs, "coupled", blocks=1, planes="alternate"))
    assert "each block reconstructed up to 2 slices on either side as well" in shown.text
    # the last block of eight slices has a neighbour on one side
    assert "6 slices high in the shortest block, fewer than a patch of the prior, 128" in shown.text
    assert "Joins of blocks" not in shown.text
