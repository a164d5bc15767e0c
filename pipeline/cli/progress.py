"""Progress of a run: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time

from rich.console import Console

from ddgm.pipeline.run.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    Copied,
    RunObserver,
    RunStarted,
    Stopping,
    Waiting,
)
from ddgm.pipeline.terminal import ProgressBar


class RunProgress(ProgressBar, RunObserver):
    """Shows a run's events on a console; a context manager."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "blocks")
        self.total = self.ended = self.before = self.voxels = 0

    def on_run_started(self, event: RunStarted) -> None:
        """Say what is to be done, and begin the bar."""
        self.total, self.before, self.voxels = event.blocks, event.done, event.voxels
        resumed = f", {event.done} done before" if event.done else ""
        dashboard = f"; Dask dashboard at {event.dashboard}" if event.dashboard else ""
        self.console.print(f"{event.blocks} blocks{resumed}{dashboard}")
        self.begin(event.blocks, event.done)

    def on_block_done(self, event: BlockDone) -> None:
        """Move the bar on."""
        self._advance()

    def on_block_failed(self, event: BlockFailed) -> None:
        """Move the bar on, and print the cause."""
        self.console.print(f"block {event.record.block} failed: {event.record.cause}")
        self._advance()

    def on_block_retried(self, event: BlockRetried) -> None:
        """Print the cause."""
        self.console.print(
            f"block {event.block}: attempt {event.attempt} failed, trying again: {event.cause}"
        )

    def on_waiting(self, event: Waiting) -> None:
        """Say what is missing."""
        self.bar.update(self.task, description="waiting for a worker")
        who = "worker with the resource GPU" if event.pool else "worker"
        self.log(lambda: f"no {who} is there yet; waiting")

    def on_stopping(self, event: Stopping) -> None:
        """Say how to stop at once."""
        self.console.print(
            "stopping: the blocks that are begun are finished; Ctrl-C again stops at once"
        )

    def on_copied(self, event: Copied) -> None:
        """Count the shards of the copy."""
        done, total = event.done, event.total
        if done == 1:
            self.begin(total)
        self.bar.update(self.task, completed=done, description="precomputed")
        self.log(lambda: f"{done}/{total} shards of the copy, {self.eta(done, total - done)}")

    def _advance(self) -> None:
        self.ended += 1
        completed, description = self.before + self.ended, f"blocks, {self._rate()}"
        self.bar.update(self.task, completed=completed, description=description)
        self.log(self._line)

    def _line(self) -> str:
        left = self.total - self.before - self.ended
        blocks = f"{self.before + self.ended}/{self.total} blocks"
        return f"{blocks}, {self._rate()}, {self.eta(self.ended, left)}"

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-3)
        return f"{self.ended * self.voxels / seconds / 1e6:.3g} Mvoxel/s"
