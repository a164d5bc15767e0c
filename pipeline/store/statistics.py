"""Statistics of many records, in memory that does not grow with them."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from ddgm.pipeline.store.ledger import Record

MAX_FAILURES = 50  # failures that are kept; a run can have very many
WORST = 5  # slices that are named
SAMPLE = 10_000  # values of a metric that its median is taken of


@dataclass
class RunningMean:
    """Mean of all values, and median of a fair sample of them (of all, up to `SAMPLE`)."""

    count: int = 0
    total: float = 0.0
    sample: list[float] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        if len(self.sample) < SAMPLE:
            self.sample.append(value)
        elif (place := self.draw.randrange(self.count)) < SAMPLE:
            self.sample[place] = value

    def summary(self) -> dict[str, float]:
        return {"mean": self.total / self.count, "median": median(self.sample)}


@dataclass
class RunStatistics:
    """Counts and sums over records; records of another digest are not to be added.

    Attributes:
        done, failed, retried: blocks.
        failures: records of failed blocks, the first `MAX_FAILURES`.
        columns: names of all metrics seen.
        seconds: by stage, over all done blocks.
        peak: most bytes that a worker held.
    """

    done: int = 0
    failed: int = 0
    retried: int = 0
    missing_voxels: int = 0
    peak: int = 0
    failures: list[Record] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=dict)
    metrics: dict[str, RunningMean] = field(default_factory=dict)
    seconds: Counter[str] = field(default_factory=Counter)
    worst: list[tuple[float, int, int]] = field(default_factory=list)  # residual, slice, block
    last: float | None = None  # block's end, seconds since 1970

    @classmethod
    def of(
        cls, records: Iterable[Record], each: Callable[[Record], object] | None = None
    ) -> RunStatistics:
        """The statistics of all records, each of which is handed on to `each`."""
        statistics = cls()
        for record in records:
            statistics.add(record)
            if each is not None:
                each(record)
        return statistics

    def add(self, record: Record) -> None:
        """Count one more record."""
        self.retried += record.attempts > 1
        if record.state == "failed":
            self.failed += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append(record)
            return
        self.done += 1
        self.missing_voxels += record.missing_voxels
        self.peak = max(self.peak, record.peak)
        self.seconds.update(record.seconds)  # type: ignore[arg-type]
        if record.finished:
            ended = datetime.fromisoformat(record.finished).timestamp()
            self.last = max(self.last or ended, ended)
        for row in record.metrics:
            for name, value in row.items():
                self.columns.setdefault(name)
                self.metrics.setdefault(name, RunningMean()).add(value)
            if "residual" in row:
                _keep(self.worst, (row["residual"], int(row["slice"]), record.block), WORST)

    def seconds_each(self) -> dict[str, float]:
        """Seconds of a block in each stage, on average."""
        return {k: v / max(self.done, 1) for k, v in self.seconds.items()}

    def summary(self) -> dict[str, Any]:
        """All that `ddgm status` shows of it, as JSON holds it."""
        return {
            "done": self.done,
            "failed": self.failed,
            "retried": self.retried,
            "missing_voxels": self.missing_voxels,
            "peak": self.peak,
            "failures": [{"block": r.block, "cause": r.cause} for r in self.failures],
            "metrics": {name: s.summary() for name, s in self.metrics.items() if name != "slice"},
            "seconds": self.seconds_each(),
            "worst": sorted(self.worst, reverse=True),
            "last": self.last,
        }


def _keep(heap: list[Any], item: Any, most: int) -> None:
    """Keep the largest items in a heap."""
    if len(heap) < most:
        heapq.heappush(heap, item)
    else:
        heapq.heappushpop(heap, item)
