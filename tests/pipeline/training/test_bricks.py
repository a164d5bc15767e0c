"""Bricks: cut without a gap, put in place whole, at hand when needed, and gone after."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import pytest

from ddgm.core.errors import DdgmError
from ddgm.core.training.brick_schedule import BrickSchedule
from ddgm.core.training.data import Drawing, NoisyPatches, PatchSource
from ddgm.core.training.events import Started, Stepped
from ddgm.core.training.statistics import Moments
from ddgm.pipeline.training import bricks as brick_files
from ddgm.pipeline.training.bricks import (
    AHEAD,
    BrickPrefetcher,
    Bricks,
    cut,
    fetch,
    fetchers,
    moments,
)
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.sample_volumes import chunk_file, grey, write_volume
from tests.pipeline.training.specs import size
from tests.processes import wait_for

pytestmark = pytest.mark.process

SHAPE = (8, 32, 48)
OFFSET = (5, 6, 7)
SIDE = 16
HEADER = 128  # of a .npy file


@pytest.fixture
def data() -> np.ndarray:
    return grey(SHAPE)


@pytest.fixture
def bricks(tmp_path: Path, data: np.ndarray) -> Bricks:
    """Six bricks of a volume, none of them fetched."""
    url = write_volume(tmp_path / "em", data, offset=OFFSET)
    volume = open_volume(url, 0)
    return Bricks(volume, tuple(cut(volume.info.bounds, SIDE)), tmp_path / "bricks")


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brick_files, "PATIENCE", 30.0)


def part(data: np.ndarray, box: Box) -> np.ndarray:
    return np.ascontiguousarray(data[box.slices(OFFSET)])


def started(step: int = 0) -> Started:
    return Started(step, 100, 1, 1, "")


def stepped(step: int) -> Stepped:
    return Stepped(step, 1.0, 1.0, 1.0, 0.0)


def there(bricks: Bricks) -> set[int]:
    """Numbers of the bricks that lie in the folder."""
    return {k for k in range(len(bricks)) if bricks.path(k).exists()}


def wait_for_bricks(bricks: Bricks, numbers: set[int]) -> None:
    wait_for(lambda: there(bricks) == numbers)


@pytest.mark.parametrize("side", [16, 17, 32, 100])
@pytest.mark.parametrize(
    "box",
    [Box((0, 0, 0), (78, 156, 33)), Box((-3, 5, 7), (-2, 22, 23)), Box((1, 1, 1), (65, 9, 50))],
)
def test_bricks_tile_a_box_and_are_of_about_equal_size(box: Box, side: int) -> None:
    seen = np.zeros(box.shape, int)
    shapes = []
    for brick in cut(box, side):
        seen[brick.slices(box.start)] += 1
        shapes.append(brick.shape)
    assert (seen == 1).all()
    assert max(max(shape) for shape in shapes) <= side
    assert all(np.ptp(lengths) <= 1 for lengths in zip(*shapes, strict=True))


def test_a_brick_holds_the_volumes_voxels(bricks: Bricks, data: np.ndarray) -> None:
    for k, box in enumerate(bricks.boxes):
        found = fetch(bricks, k, keep=True)
        np.testing.assert_array_equal(bricks[k], part(data, box))
        assert found == Moments.of(part(data, box))
        assert fetch(bricks, k, keep=True) == found  # from the file, now
    assert len(bricks) == 6
    assert bricks.bytes == data.nbytes
    assert {p.suffix for p in bricks.folder.iterdir()} == {".npy"}


def test_a_brick_that_is_not_kept_is_only_measured(bricks: Bricks, data: np.ndarray) -> None:
    assert fetch(bricks, 2, keep=False) == Moments.of(part(data, bricks.boxes[2]))
    assert not bricks.folder.exists()


def test_a_brick_is_put_in_place_whole(bricks: Bricks, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut off while it is written, as by a full disk, is never taken for a brick."""

    def fails(f: object, data: np.ndarray) -> None:
        f.write(data.tobytes()[:100])  # type: ignore[attr-defined]
        raise OSError("no space left")

    with monkeypatch.context() as full:
        full.setattr(np, "save", fails)
        with pytest.raises(OSError, match="no space"):
            fetch(bricks, 0, keep=True)
    assert there(bricks) == set()
    fetch(bricks, 0, keep=True)
    assert bricks[0].shape == bricks.boxes[0].shape
    assert [p.suffix for p in bricks.folder.iterdir()] == [".npy"]


def test_a_name_says_what_a_brick_depends_on(bricks: Bricks) -> None:
    others = [
        open_volume(bricks.volume.url, 0, missing=7),
        open_volume(bricks.volume.url, 1),
        open_volume(bricks.volume.url + "/other", 0),
    ]
    names = {Bricks(v, bricks.boxes, bricks.folder).path(0) for v in others}
    names |= {bricks.path(k) for k in range(6)}
    assert len(names) == 9


def test_a_brick_with_a_voxel_that_is_no_number_is_named(tmp_path: Path) -> None:
    data = grey(SHAPE, "float32")
    data[1, 2, 3] = np.nan
    volume = open_volume(write_volume(tmp_path / "em", data), 0)
    bricks = Bricks(volume, tuple(cut(volume.info.bounds, SIDE)), tmp_path / "bricks")
    with pytest.raises(SourceError, match=r"1 of .* NaN") as caught:
        fetch(bricks, 0, keep=True)
    assert volume.url in str(caught.value)
    assert str(bricks.boxes[0]) in str(caught.value)
    assert there(bricks) == set()


def test_all_are_measured_and_those_needed_first_are_kept(bricks: Bricks, data: np.ndarray) -> None:
    schedule = BrickSchedule(len(bricks), resident=1, turnover=10)
    with fetchers(2) as pool:
        found = list(moments([(bricks, schedule)], pool))
    assert found == [Moments.of(part(data, box)) for box in bricks.boxes]
    total = sum(found, Moments())
    assert (total.mean, total.std) == pytest.approx((data.mean(), data.std()), rel=1e-6)
    assert there(bricks) == set(schedule.window(0, AHEAD))


def test_a_missing_chunk_ends_the_measuring(bricks: Bricks, tmp_path: Path) -> None:
    chunk_file(tmp_path / "em", (5, 22, 23)).unlink()
    schedule = BrickSchedule(len(bricks), resident=1, turnover=10)
    with fetchers(1) as pool, pytest.raises(SourceError, match="missing") as caught:
        list(moments([(bricks, schedule)], pool))
    assert bricks.volume.url in str(caught.value)


def test_the_prefetcher_keeps_what_is_drawn_from_and_no_more(
    bricks: Bricks, data: np.ndarray
) -> None:
    """Twice round all bricks, with room for three: the same patches as with all at hand."""
    turnover, batch = 20, 10
    schedule = BrickSchedule(len(bricks), resident=1, turnover=turnover)
    whole = [part(data, box) for box in bricks.boxes]
    of_whole = Drawing((PatchSource("", whole, 1.0, schedule),), 128.0, 70.0)
    expected = NoisyPatches(of_whole, patch=16)
    source = Drawing((PatchSource("", bricks, 1.0, schedule),), 128.0, 70.0)
    pairs = NoisyPatches(source, patch=16)
    room = (1 + AHEAD) * (prod(bricks.boxes[0].shape) + HEADER)
    seen: list[set[int]] = []
    with BrickPrefetcher([(bricks, schedule)], source.drawn, batch, processes=1) as prefetcher:
        for step in range(2 * len(bricks) * turnover // batch):
            prefetcher(stepped(step) if step else started())
            for i in (batch * step, batch * step + batch - 1):
                for found, wanted in zip(pairs[i], expected[i], strict=True):
                    np.testing.assert_array_equal(found, wanted)
            assert size(bricks.folder) <= room
            if step % 2 == 0:
                wait_for_bricks(bricks, set(schedule.window(batch * step, AHEAD)))
                seen.append(there(bricks))
    assert set.union(*seen) == set(range(6))
    arrived = sum(len(now - before) for before, now in pairwise(seen))
    assert arrived > len(bricks)  # so that some came twice


def test_the_feeder_begins_where_a_training_goes_on(bricks: Bricks) -> None:
    schedule = BrickSchedule(len(bricks), resident=2, turnover=10)
    for k in range(6):
        fetch(bricks, k, keep=True)
    with BrickPrefetcher([(bricks, schedule)], lambda v, i: i, batch=5, processes=1) as prefetcher:
        prefetcher(started(7))
        wait_for_bricks(bricks, set(schedule.window(35, AHEAD)))


def test_a_brick_that_cannot_be_fetched_is_named_to_who_waits(
    bricks: Bricks, tmp_path: Path
) -> None:
    for chunk in (tmp_path / "em").glob("*_*_*/*"):
        chunk.unlink()
    schedule = BrickSchedule(len(bricks), len(bricks), 10)
    with BrickPrefetcher([(bricks, schedule)], lambda v, i: i, batch=5, processes=1) as prefetcher:
        prefetcher(started())
        with pytest.raises(DdgmError, match="missing") as caught:
            _ = bricks[3]
    assert bricks.volume.url in str(caught.value)
    assert str(bricks.boxes[3]) in str(caught.value)


def test_a_brick_that_failed_before_is_tried_again(bricks: Bricks, data: np.ndarray) -> None:
    bricks.folder.mkdir()
    bricks.failure(1).write_text("the server was down")
    schedule = BrickSchedule(len(bricks), len(bricks), 10)
    with BrickPrefetcher([(bricks, schedule)], lambda v, i: i, batch=5, processes=1) as prefetcher:
        prefetcher(started())
        wait_for_bricks(bricks, set(range(6)))
    np.testing.assert_array_equal(bricks[1], part(data, bricks.boxes[1]))
    assert not bricks.failure(1).exists()


PARENT = """
import os, signal
from ddgm.pipeline.training.bricks import fetchers

if __name__ == "__main__":
    with fetchers(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fetching_process_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.run(
        [sys.executable, str(tmp_path / "parent.py")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )  # returns when the child, too, has let go of the output
    assert parent.returncode == -signal.SIGKILL
    assert parent.stdout.strip().isdigit()
