"""Progress of a run: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

from ddgm.pipeline.run.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    Event,
    RunStarted,
    Stopping,
    Waiting,
)
from ddgm.pipeline.terminal import LOG_SECONDS, bar, duration


class RunProgress:
    """Subscribes to a run's events; use as a context, and call it with each event."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = bar(console)
        self.task = self.bar.add_task("blocks", total=None)
        self.started = self.logged = time.monotonic()
        self.total = self.ended = self.before = self.voxels = 0

    def __enter__(self) -> RunProgress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, BlockRetried):
            self.console.print(
                f"block {event.block}: attempt {event.attempt} failed, trying again: {event.cause}"
            )
        elif isinstance(event, Waiting):
            self.bar.update(self.task, description="waiting for a worker")
            who = "worker with the resource GPU" if event.pool else "worker"
            self._log(f"no {who} is there yet; waiting")
        elif isinstance(event, Stopping):
            self.console.print(
                "stopping: the blocks that are begun are finished; Ctrl-C again stops at once"
            )
        elif isinstance(event, BlockDone | BlockFailed):
            self.ended += 1
            self.bar.update(
                self.task, completed=self.before + self.ended, description=f"blocks, {self._rate()}"
            )
            if isinstance(event, BlockFailed):
                self.console.print(f"block {event.record.block} failed: {event.record.cause}")
            self._log(self._line())

    def _start(self, event: RunStarted) -> None:
        self.total, self.before, self.voxels = event.blocks, event.done, event.voxels
        self.started = self.logged = time.monotonic()
        resumed = f", {event.done} done before" if event.done else ""
        dashboard = f"; Dask dashboard at {event.dashboard}" if event.dashboard else ""
        self.console.print(f"{event.blocks} blocks{resumed}{dashboard}")
        self.bar.reset(self.task, total=event.blocks, completed=event.done)

    def _line(self) -> str:
        left = self.total - self.before - self.ended
        pace = (time.monotonic() - self.started) / max(self.ended, 1)
        blocks = f"{self.before + self.ended}/{self.total} blocks"
        return f"{blocks}, {self._rate()}, ETA {duration(left * pace)}"

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-3)
        return f"{self.ended * self.voxels / seconds / 1e6:.3g} Mvoxel/s"

    def _log(self, line: str) -> None:
        """Print a line where there is no bar, at most one in `LOG_SECONDS`."""
        if not self.console.is_terminal and time.monotonic() - self.logged >= LOG_SECONDS:
            self.logged = time.monotonic()
            self.console.print(line)
