"""The result of a run, counted while it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ddgm.pipeline.run.events import BlockDone, BlockFailed, RunObserver
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.tables.ended import EndedBlocks
from ddgm.pipeline.store.tables.statistics import RunStatistics

AT_ONCE = 100  # records that are counted together


@dataclass
class RunResult(RunObserver):
    """Result of a run.

    Attributes:
        blocks: of the plan.
        resumed: done by earlier starts.
        seconds: this start took.
        known: of the records that are counted, see `tally`.
        waiting: records that are not counted yet.
        predicted: seconds, and bytes of a worker, that this start would take; see `Forecast`.
        voxels_per_second: of the blocks of this start, where it did any.
    """

    blocks: int
    resumed: int = 0
    seconds: float = 0.0
    known: RunStatistics = field(default_factory=RunStatistics, repr=False)
    waiting: list[Record] = field(default_factory=list, repr=False)
    predicted: dict[str, Any] | None = None
    voxels_per_second: float | None = None

    @property
    def tally(self) -> RunStatistics:
        """Statistics of all records of the run so far."""
        self.known.add(EndedBlocks.of(self.waiting))
        self.waiting.clear()
        return self.known

    @property
    def done(self) -> int:
        """Blocks done by this start."""
        return self.tally.done - self.resumed

    @property
    def failures(self) -> int:
        """Blocks that failed for good."""
        return self.tally.failed

    @property
    def failed(self) -> list[Record]:
        """Records of blocks that failed for good, the first of them."""
        return self.tally.failures

    def on_block_done(self, event: BlockDone) -> None:
        """Count the block."""
        self._count(event.record)

    def on_block_failed(self, event: BlockFailed) -> None:
        """Count the block."""
        self._count(event.record)

    def _count(self, record: Record) -> None:
        """Keep a record until there are some: many are counted in the time of one."""
        self.waiting.append(record)
        if len(self.waiting) >= AT_ONCE:
            _ = self.tally
