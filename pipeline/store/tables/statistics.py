"""Statistics of many records, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.tables.ended import EndedBlocks

MAX_FAILURES = 50  # failures that are kept; a run can have very many
WORST = 5  # slices that are named
SAMPLE = 10_000  # values of a metric that its median is taken of


@dataclass
class RunningMean:
    """Mean of all values, and median of a fair sample of them (of all, up to `SAMPLE`)."""

    count: int = 0
    total: float = 0.0
    sample: np.ndarray = field(default_factory=lambda: np.empty(0))
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, values: np.ndarray) -> None:
        """Add values, none of them NaN."""
        self.total += float(values.sum())
        first, rest = np.split(values, [SAMPLE - len(self.sample)])
        self.sample = np.concatenate([self.sample, first]) if len(first) else self.sample
        before = self.count + len(first)
        self.count += len(values)
        if len(rest):  # the k-th value takes the place of one of the sample, or of none
            places = self.draw.integers(0, np.arange(before + 1, self.count + 1))
            taken = places < SAMPLE
            self.sample[places[taken]] = rest[taken]

    def summary(self) -> dict[str, float]:
        """Mean and median."""
        return {"mean": self.total / self.count, "median": float(np.median(self.sample))}


@dataclass
class RunStatistics:
    """Counts and sums over the blocks of a run that have ended.

    Attributes:
        done, failed, retried: blocks.
        failures: records of failed blocks, the first `MAX_FAILURES`.
        columns: names of all metrics seen.
        seconds: by stage, over all done blocks.
        gpu_seconds: those of them that processes with a GPU computed.
        read: requests, bytes and hits in the cache, of the source.
        written: bytes of done blocks, by layer.
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
    gpu_seconds: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    worst: list[tuple[float, int, int]] = field(default_factory=list)  # residual, slice, block
    last: float | None = None  # block's end, seconds since 1970

    @classmethod
    def of(cls, blocks: Iterable[EndedBlocks]) -> RunStatistics:
        """The statistics of all blocks."""
        statistics = cls()
        for some in blocks:
            statistics.add(some)
        return statistics

    def add(self, ended: EndedBlocks) -> None:
        """Count some more blocks."""
        self.failed += len(ended.failed)
        self.failures += ended.failed[: MAX_FAILURES - len(self.failures)]
        self.retried += sum(record.attempts > 1 for record in ended.failed)
        if not len(ended.block):
            return
        self.done += len(ended.block)
        self.retried += int((ended.numbers["attempts"] > 1).sum())
        self.missing_voxels += int(ended.numbers["missing_voxels"].sum())
        self.peak = max(self.peak, int(ended.numbers["peak"].max()))
        groups = ended.groups
        for sums, name in ((self.seconds, "seconds"), (self.gpu_seconds, "gpu_seconds")):
            for stage, values in groups[name].items():
                sums[stage] += float(np.nansum(values))  # type: ignore[assignment]
        for sums, name in ((self.read, "read"), (self.written, "sizes")):
            for what, values in groups[name].items():
                sums[what] += int(np.nansum(values))
        if (known := ended.finished[~np.isnan(ended.finished)]).size:
            self.last = max(self.last or -inf, float(known.max()))
        for name, values in ended.metrics.items():
            self.columns.setdefault(name)
            if (there := values[~np.isnan(values)]).size:
                self.metrics.setdefault(name, RunningMean()).add(there)
        self._keep_worst(ended)

    def _keep_worst(self, ended: EndedBlocks) -> None:
        if not {"residual", "slice"} <= ended.metrics.keys():
            return
        residual, number = ended.metrics["residual"], ended.metrics["slice"]
        there = np.flatnonzero(~np.isnan(residual + number))
        for row in there[np.argsort(residual[there])[-WORST:]].tolist():
            self.worst.append((float(residual[row]), int(number[row]), int(ended.slice_block[row])))
        self.worst = sorted(self.worst, reverse=True)[:WORST]

    def seconds_each(self) -> dict[str, float]:
        """Seconds of a block in each stage, on average."""
        return {k: v / max(self.done, 1) for k, v in self.seconds.items()}

    def used(self, threads: int) -> dict[str, float]:
        """Core and GPU seconds (`core`, `gpu`), bytes (`read`, `written`) and `requests`.

        Args:
            threads: of a worker, which a block at work there takes up.
        """
        gpu = float(self.gpu_seconds.total())
        return {
            "core": (self.seconds.total() - gpu) * threads,
            "gpu": gpu,
            "read": float(self.read["bytes"]),
            "requests": float(self.read["requests"]),
            "written": float(self.written.total()),
        }

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
            "total_seconds": dict(self.seconds),
            "gpu_seconds": dict(self.gpu_seconds),
            "read": dict(self.read),
            "written": dict(self.written),
            "worst": self.worst,
            "last": self.last,
        }
