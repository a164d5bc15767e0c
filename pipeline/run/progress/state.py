"""The state file RUN/state.json, read by those who look at a run from elsewhere."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.progress_bar import in_words
from ddgm.pipeline.run.events import BlockDone, BlockRetried, ClusterStatus, RunObserver
from ddgm.pipeline.run.placement import LOCAL
from ddgm.pipeline.run.progress.forecast import Forecast
from ddgm.pipeline.run.progress.pace import Pace
from ddgm.pipeline.run.result import RunResult
from ddgm.pipeline.store.files import FolderError
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.sealed import DamagedError, seal, unseal

NAME = "state.json"
WRITE_SECONDS = 10.0
LISTED = 50  # running blocks that are named


class StateFile(RunObserver):
    """Writes the state of a run every few seconds.

    Args:
        store: of the run.
        context: what is run.
        result: so far; counts before this one does.
        forecast: of this start.
        pace: of this start.
    """

    def __init__(
        self,
        store: RunStore,
        context: RunContext,
        result: RunResult,
        forecast: Forecast,
        pace: Pace,
    ) -> None:
        self.store, self.context, self.result = store, context, result
        self.forecast, self.pace = forecast, pace
        self.began = time.monotonic()
        self.started = _now()
        self.written = float("-inf")
        self.status = ClusterStatus(LOCAL, 0, 0)
        self.retries = 0
        self.reconstructing = 0.0

    def on_block_done(self, event: BlockDone) -> None:
        """Add up the time of the method."""
        self.reconstructing += event.record.seconds.get("reconstruct", 0.0)

    def on_block_retried(self, event: BlockRetried) -> None:
        """Count the retry."""
        self.retries += 1

    def on_cluster_status(self, event: ClusterStatus) -> None:
        """Keep the status; write the file if it is time."""
        self.status = event
        if time.monotonic() - self.written > WRITE_SECONDS:
            self.write()

    def busy(self) -> float | None:
        """Share of the time that the processes which run networks were at it, since the start."""
        status = self.status
        pool = status.network.get("busy", 0.0)
        spent = pool if status.placement.calls_pool else self.reconstructing
        return spent / self.forecast.worker_seconds if self.forecast.worker_seconds else None

    def write(self, ended: bool = False) -> None:
        """Write the state. Errors are ignored here; the data path reports them."""
        self.written = time.monotonic()
        running = [] if ended else [asdict(r) for r in self.status.active[:LISTED]]
        once = [(worker, in_words(work)) for worker, work in self.status.once[:LISTED]]
        state = {
            "digest": self.context.digest,
            "started": self.started,
            "updated": _now(),
            "ended": ended,
            "seconds": time.monotonic() - self.began,
            "blocks_this_start": self.result.done,
            "placement": self.status.placement.name,
            "block_workers": self.status.block_workers,
            "pool": self.status.pool,
            "busy": self.busy(),
            "retries": self.retries,
            "active": 0 if ended else len(self.status.active),
            "running": running,
            "once": [] if ended else once,
            "pace": asdict(self.pace.now(whole=ended)),
            "predicted": self.forecast.as_json(),
            "tally": self.result.tally.summary(),
        }
        with suppress(OSError, FolderError):
            self.store.folder.write(NAME, seal(state))


def read_state(store: RunStore, digest: str) -> dict[str, Any] | None:
    """The state that the latest start of a run wrote; None if there is none."""
    try:
        state = unseal(store.folder.read(NAME) or b"")
    except (DamagedError, FolderError):
        return None
    return state if state.get("digest") == digest else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
