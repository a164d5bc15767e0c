"""The pace of a run: predicted at first, then measured from what is done of blocks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ddgm.pipeline.run.events import ActiveBlock, BlockDone, BlockFailed, ClusterStatus
from ddgm.pipeline.run.placement import LOCAL
from ddgm.pipeline.run.progress.forecast import Forecast
from ddgm.pipeline.run.progress.pace import MEASURED, Pace, waves
from ddgm.pipeline.store.ledger import Record

VOXELS = 1000


class Clocked:
    """A run of 5 blocks on two workers, which its driver looks at as a test says."""

    def __init__(self, predicted: float | None) -> None:
        self.now = 0.0
        forecast: Any = SimpleNamespace(
            blocks=5, block_seconds=lambda: predicted, workers=lambda: 2.0
        )
        self.pace = Pace(cast(Forecast, forecast), VOXELS, lambda: self.now)

    def look(self, now: float, parts: dict[int, float], stage: str = "reconstruct") -> None:
        self.now = now
        active = tuple(ActiveBlock(block, stage, "cpu-0", 0.0) for block in parts)
        self.pace(ClusterStatus(LOCAL, 2, 0, active, parts=parts))

    def end(self, block: int, **seconds: float) -> None:
        self.pace(BlockDone(Record(block, "digest", "done", seconds=seconds)))

    @property
    def left(self) -> float | None:
        return self.pace.now().left_seconds

    @property
    def rate(self) -> float | None:
        return self.pace.now().voxels_per_second


@pytest.mark.parametrize(
    ("begun", "waiting", "slots", "expected"),
    [([], 3, 2, 2.0), ([0.5, 1.0], 1, 2, 1.5), ([0.25], 0, 2, 0.25), ([], 1000, 10, 100.0)],
)
def test_blocks_wait_for_a_free_slot(
    begun: list[float], waiting: int, slots: int, expected: float
) -> None:
    assert waves(begun, waiting, slots) == pytest.approx(expected)


def test_nothing_is_said_before_anything_is_known() -> None:
    run = Clocked(predicted=None)
    run.look(5.0, {0: 0.0, 1: 0.0})
    assert (run.left, run.rate) == (None, None)


def test_the_forecast_stands_in_until_noise_levels_have_passed_for_a_while() -> None:
    run = Clocked(predicted=8.0)
    run.look(0.0, {0: 0.0, 1: 0.0}, stage="fetch")
    assert (run.left, run.rate) == (pytest.approx(24.0), None)  # three rounds of two blocks
    run.look(100.0, {0: 0.0, 1: 0.0})  # from here on: what came before was no work
    run.look(100.0 + MEASURED - 1, {0: 0.2, 1: 0.2})
    assert run.rate is None
    run.look(100.0 + 2 * MEASURED, {0: 0.5, 1: 0.5})
    assert run.rate == pytest.approx(VOXELS / (2 * MEASURED))
    assert run.left == pytest.approx(4 * MEASURED * 2.5)  # 40 s a block; half of one, then two


def test_a_block_that_ends_between_two_looks_counts_once() -> None:
    run = Clocked(predicted=None)
    run.look(0.0, {0: 0.0, 1: 0.0})
    run.look(20.0, {0: 0.9, 1: 0.9})
    run.now = 22.0
    run.end(0, reconstruct=20.0)
    assert run.pace.now().blocks == pytest.approx(1.9)
    run.pace(BlockFailed(Record(1, "digest", "failed")))
    assert run.pace.now(whole=True).blocks == 2.0


def test_what_follows_the_reconstruction_takes_its_share_of_the_time() -> None:
    run = Clocked(predicted=None)
    run.look(0.0, {0: 0.0, 1: 0.0})
    run.end(0, reconstruct=60.0, score=20.0, write=20.0, fetch=500.0)
    run.look(100.0, {1: 1.0, 2: 0.0})
    assert run.pace.now().blocks == pytest.approx(1.6)


def test_a_run_that_ends_before_anybody_has_looked_has_a_rate() -> None:
    run = Clocked(predicted=None)
    run.now = 2.0
    run.end(0)
    run.end(1)
    assert (run.rate, run.pace.now(whole=True).voxels_per_second) == (None, pytest.approx(VOXELS))
