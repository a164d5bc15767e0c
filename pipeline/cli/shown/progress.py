"""Progress of a run: a bar and what each worker is at, or a line now and then in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console

from ddgm.pipeline.progress_bar import ProgressBar, eta, in_words
from ddgm.pipeline.run.events import (
    ActiveBlock,
    BlockDone,
    BlockFailed,
    BlockRetried,
    ClusterStatus,
    Paced,
    RunObserver,
    RunStarted,
    ShardMade,
    Stopping,
    Waiting,
)
from ddgm.pipeline.run.in_flight import METHOD
from ddgm.pipeline.terminal import plural

LISTED = 8  # workers that are named
NOT_YET = Paced(0.0, None, None)


class RunProgress(ProgressBar, RunObserver):
    """Shows a run's events on a console; a context manager."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "preparing")
        self.run: RunStarted | None = None
        self.ended, self.pace = 0, NOT_YET
        self.at: list[str] = []

    def on_run_started(self, event: RunStarted) -> None:
        """Say what is to be done, and begin the bar."""
        self.run, self.ended, self.pace = event, event.done, NOT_YET
        resumed = f", {event.done} done before" if event.done else ""
        dashboard = f"; Dask dashboard at {event.dashboard}" if event.dashboard else ""
        self.console.print(f"{plural(event.blocks, 'block')}{resumed}{dashboard}")
        self.begin(event.blocks * event.slices, event.done * event.slices)
        self._show()

    def on_block_done(self, event: BlockDone) -> None:
        """Count the block."""
        self.ended += 1

    def on_block_failed(self, event: BlockFailed) -> None:
        """Count the block, and print the cause."""
        self.ended += 1
        self.console.print(f"block {event.record.block} failed: {event.record.cause}")

    def on_block_retried(self, event: BlockRetried) -> None:
        """Print the cause."""
        self.console.print(
            f"block {event.block}: attempt {event.attempt} failed, trying again: {event.cause}"
        )

    def on_waiting(self, event: Waiting) -> None:
        """Say what is missing."""
        who = "worker with the resource GPU" if event.pool else "worker"
        self.bar.update(self.task, description=f"waiting for a {who}")
        self.log(lambda: f"no {who} is there yet; waiting")

    def on_cluster_status(self, event: ClusterStatus) -> None:
        """Keep what the workers are at."""
        if self.run is not None:
            once = [(worker, in_words(work)) for worker, work in event.once]
            self.at = list(lines_of(self.run, event.active, once))

    def on_paced(self, event: Paced) -> None:
        """Show how far the run is, and what the workers are at."""
        self.pace = event
        self._show()
        self.log(self._line)

    def on_stopping(self, event: Stopping) -> None:
        """Say how to stop at once."""
        self.console.print(
            "stopping: the blocks that are begun are finished; Ctrl-C again stops at once"
        )

    def on_shard_made(self, event: ShardMade) -> None:
        """Show how far what follows the last block is."""
        if event.done == 1:
            self.begin(event.total)
        self.bar.lines = ()
        self.bar.update(self.task, completed=event.done, description=event.what, left=None)
        self.log(lambda: f"{event.done}/{event.total} shards of {event.what}")

    def _show(self) -> None:
        self.bar.update(
            self.task, completed=self._slices(), description="slices", left=self.pace.left_seconds
        )
        rate = [f"  {self._rate()}"] if self.pace.voxels_per_second else []
        self.bar.lines = [*rate, *(f"  {line}" for line in self.at)]

    def _slices(self) -> int:
        assert self.run is not None
        return int((self.run.done + self.pace.blocks) * self.run.slices)

    def _line(self) -> str:
        assert self.run is not None
        counts = f"{self._slices()}/{self.run.blocks * self.run.slices} slices"
        parts = [counts, self._rate(), eta(self.pace.left_seconds)]
        return "; ".join([", ".join(part for part in parts if part), *self.at[:1]])

    def _rate(self) -> str:
        rate = self.pace.voxels_per_second
        return "" if rate is None else rate_text(rate)


def rate_text(voxels_per_second: float) -> str:
    """A rate as it is printed everywhere."""
    return f"{voxels_per_second / 1e6:.3g} Mvoxel/s"


def lines_of(
    run: RunStarted, active: Iterable[ActiveBlock], once: Iterable[tuple[str, str]]
) -> Iterator[str]:
    """Lines on what each worker is at, some of them where they are many.

    Args:
        run: that they work for.
        active: blocks that they are at.
        once: what they do once and not for a block: workers, and what in words.
    """
    lines = [f"{worker}: {what}" for worker, what in once]
    ordered = sorted(active, key=lambda a: (not a.total, a.block))
    lines += [f"{a.worker}: block {a.block}, {reached(run, a)}" for a in ordered]
    yield from lines[:LISTED]
    if len(lines) > LISTED:
        yield f"and {len(lines) - LISTED} more"


def reached(run: RunStarted, at: ActiveBlock) -> str:
    """The place in a block that a worker is at: slices and noise level, or the stage."""
    if at.stage != METHOD or not at.total > 0:
        return at.stage
    batches = at.total // run.levels
    batch, level = divmod(min(at.done, at.total - 1), run.levels)
    first = batch * run.batch + 1
    last = run.slices if batch + 1 == batches else first + run.batch - 1
    slices = f"slice {first}" if first == last else f"slices {first} to {last}"
    parts = [f"{slices} of {run.slices}"] if run.slices > 1 else []
    parts += [f"noise level {level + 1} of {run.levels}"] if run.levels > 1 else []
    return ", ".join(parts) or at.stage
