"""Requests and bytes that are counted, and the bandwidth that they hold to."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddgm.pipeline.block.stages import fetch_stage
from ddgm.pipeline.block.task import BlockTask
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.volumes.limits.bandwidth import Bandwidth
from ddgm.pipeline.volumes.limits.traffic import METER, Traffic, metered
from tests.pipeline.runs import phantom_volume, small_spec
from tests.pipeline.sample_volumes import serve


class Clock:
    """A clock that goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bandwidth(clock: Clock) -> Bandwidth:
    return Bandwidth(clock, clock.sleep)


def test_what_has_come_is_paid_for_before_more_is_asked_for(
    clock: Clock, bandwidth: Bandwidth
) -> None:
    bandwidth.set(1000.0)
    assert bandwidth.delay() == 0
    bandwidth.spend(500)  # two answers of requests that were out together
    bandwidth.spend(1500)
    assert bandwidth.delay() == 2.0
    clock.now += 0.5
    assert bandwidth.delay() == 1.5
    bandwidth.wait()
    assert (clock.now, bandwidth.delay()) == (102.0, 0)


def test_time_in_which_nothing_was_read_is_not_saved_up(clock: Clock, bandwidth: Bandwidth) -> None:
    bandwidth.set(1000.0)
    clock.now += 3600
    bandwidth.spend(1000)
    assert bandwidth.delay() == 1.0


def test_another_share_holds_for_what_is_owed_too(clock: Clock, bandwidth: Bandwidth) -> None:
    bandwidth.set(1000.0)
    bandwidth.spend(3000)
    clock.now += 1
    bandwidth.set(500.0)  # twice as many workers
    assert bandwidth.delay() == 4.0
    bandwidth.set(float("inf"))
    assert bandwidth.delay() == 0
    bandwidth.spend(10**12)
    assert bandwidth.delay() == 0


def test_what_is_counted_already_is_not_counted_twice() -> None:
    get = metered(lambda: (b"1234", None))
    assert metered(get) is get
    before = METER.traffic
    assert get() == (b"1234", None)
    assert METER.traffic - before == Traffic(requests=1, bytes=4)


@pytest.mark.server
def test_a_block_says_what_it_read_and_no_worker_reads_more_than_its_share(
    tmp_path: Path, tiny_prior: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five chunks of 8 slices, of which two blocks of four are made; and a request tried again."""
    bandwidth = Bandwidth(clock, clock.sleep)
    monkeypatch.setattr(METER, "bandwidth", bandwidth)
    phantom_volume(tmp_path / "em", (32, 140, 16), chunk=(32, 32, 8))
    with serve(tmp_path / "em") as server:
        spec = small_spec(server.url, tmp_path / "run", tiny_prior, source={"bandwidth": 2000.0})
        context = prepare(spec)
        before, began = METER.traffic, clock.now
        read = [fetch_stage(context, BlockTask(b, readers=4)).read for b in range(4)]
        paid = clock.now + bandwidth.delay() - began
    chunk = 32 * 32 * 8
    whole = 4 * chunk + 32 * 12 * 8
    assert [r["bytes"] for r in read] == [whole, 0, whole, 0]
    assert [(r["requests"], r["hits"]) for r in read] == [(5, 0), (0, 5), (5, 0), (0, 5)]
    assert (METER.traffic - before).bytes == 2 * whole
    assert paid == pytest.approx(2 * whole / 500)  # a quarter of 2,000 bytes a second
