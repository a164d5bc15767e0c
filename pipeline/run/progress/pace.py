"""The pace of a run: its rate and the time that is left, for all who show them."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ddgm.pipeline.run.events import BlockDone, BlockFailed, ClusterStatus, Paced, RunObserver
from ddgm.pipeline.run.in_flight import METHOD
from ddgm.pipeline.run.progress.forecast import Forecast

WINDOW = 600.0  # seconds that the rate is taken over
MEASURED = 10.0  # seconds of work from which on what was measured is better than a forecast
WAVES = 50  # from which on it does not matter which block goes where
BESIDE = "fetch", "load"  # what blocks wait for beside what is computed, or once


@dataclass(frozen=True)
class Look:
    """The pace at one moment.

    Attributes:
        seconds: by the monotonic clock.
        ended: blocks, since the start.
        parts: of the method that are done in other blocks, all together.
        block_seconds: that blocks have been computed for, all together.
    """

    seconds: float
    ended: float
    parts: float
    block_seconds: float


class Pace(RunObserver):
    """Measures the pace of this start of a run, and predicts its end.

    What is measured counts noise levels, so it is there before a block has ended. Until then the
    forecast stands in for it.

    Args:
        forecast: of this start.
        voxels: of a full block.
        clock: monotonic seconds.
    """

    def __init__(
        self, forecast: Forecast, voxels: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.forecast, self.voxels, self._clock = forecast, voxels, clock
        self.ended, self._began = 0, clock()
        self._parts: dict[int, float] = {}  # of the method that are done, of blocks in flight
        self._spent: dict[str, float] = {}  # seconds of blocks that are done, by stage
        self._looks: deque[Look] = deque()
        self._first: Look | None = None
        self._computing = 0

    def on_block_done(self, event: BlockDone) -> None:
        """Count the block, and what its stages took."""
        self._end(event.record.block)
        for stage, seconds in event.record.seconds.items():
            self._spent[stage] = self._spent.get(stage, 0.0) + seconds

    def on_block_failed(self, event: BlockFailed) -> None:
        """Count the block."""
        self._end(event.record.block)

    def on_cluster_status(self, event: ClusterStatus) -> None:
        """Look at what is in flight."""
        self._parts = dict(event.parts)
        computing = sum(active.stage not in BESIDE for active in event.active)
        if self._looks or computing:  # else the first block is still fetched
            self._looks.append(self._look())
            self._first = self._first or self._looks[0]
        self._computing = computing
        while self._looks and self._looks[0].seconds < self._looks[-1].seconds - WINDOW:
            self._looks.popleft()

    def now(self, whole: bool = False) -> Paced:
        """The pace at this moment: lately, or over the whole start."""
        span = self._span(whole)
        rate = None if span is None else self._blocks(span) / span.seconds * self.voxels
        return Paced(self._blocks(self._look()), rate, self._left_seconds())

    def _left_seconds(self) -> float | None:
        if (span := self._span()) is not None:
            each, slots = span.block_seconds / self._blocks(span), span.block_seconds / span.seconds
        elif (each := self.forecast.block_seconds()) is not None:
            slots = self.forecast.workers()
        else:
            return None
        begun = [1.0 - self._share * part for part in self._parts.values()]
        waiting = self.forecast.blocks - self.ended - len(begun)
        return each * waves(begun, max(waiting, 0), max(1, round(slots)))

    def _end(self, block: int) -> None:
        self.ended += 1
        self._parts.pop(block, None)

    @property
    def _share(self) -> float:
        """The method's share of the time of a block."""
        whole = sum(v for stage, v in self._spent.items() if stage not in BESIDE)
        return self._spent.get(METHOD, 0.0) / whole if whole else 1.0

    def _span(self, whole: bool = False) -> Look | None:
        """What was measured lately, or since the start, as the difference of two looks."""
        if whole:  # of a run that ended before anybody looked, too
            first = self._first or Look(self._began, 0, 0, 0)
        elif self._looks:
            first = self._looks[0]
        else:
            return None
        now = self._look()
        span = Look(
            now.seconds - first.seconds,
            now.ended - first.ended,
            now.parts - first.parts,
            now.block_seconds - first.block_seconds,
        )
        enough = span.seconds >= MEASURED or (whole and span.seconds > 0)
        known = whole or span.block_seconds > 0
        return span if enough and known and self._blocks(span) > 0 else None

    def _look(self) -> Look:
        now, spent = self._clock(), 0.0
        if self._looks:
            last = self._looks[-1]
            spent = last.block_seconds + self._computing * (now - last.seconds)
        return Look(now, self.ended, sum(self._parts.values()), spent)

    def _blocks(self, look: Look) -> float:
        return look.ended + self._share * look.parts


def waves(begun: Sequence[float], waiting: int, slots: int) -> float:
    """The time until all blocks have ended, in times of a block.

    Args:
        begun: what is left of the blocks that have begun.
        waiting: blocks that have not.
        slots: blocks that are computed at once.
    """
    if waiting > WAVES * slots:
        return (sum(begun) + waiting) / slots
    ends = [0.0] * slots
    for part in [*sorted(begun), *[1.0] * waiting]:
        heapq.heapreplace(ends, ends[0] + part)
    return max(ends)
