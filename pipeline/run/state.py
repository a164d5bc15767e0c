"""The state file RUN/state.json, read by those who look at a run from elsewhere."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.run.events import BlockDone, BlockRetried, ClusterStatus, Event
from ddgm.pipeline.run.forecast import Forecast
from ddgm.pipeline.store.files import FolderError
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.statistics import RunStatistics

NAME = "state.json"
WRITE_SECONDS = 10.0
LISTED = 50  # running blocks that are named


class StateFile:
    """Subscribes to a run's events and writes down, now and then, what they come to.

    Args:
        store: of the run.
        context: what is run.
        tally: kept by the runner, of all records.
        forecast: of this start.
    """

    def __init__(
        self, store: RunStore, context: RunContext, tally: RunStatistics, forecast: Forecast
    ) -> None:
        self.store, self.context, self.tally, self.forecast = store, context, tally, forecast
        self.began = time.monotonic()
        self.started = _now()
        self.written = float("-inf")
        self.status = ClusterStatus("here", 0, 0)
        self.retries = self.done = 0
        self.reconstructing = 0.0

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, BlockDone):
            self.done += 1
            self.reconstructing += event.record.seconds.get("reconstruct", 0.0)
        elif isinstance(event, BlockRetried):
            self.retries += 1
        elif isinstance(event, ClusterStatus):
            self.status = event
            if time.monotonic() - self.written > WRITE_SECONDS:
                self.write()

    def busy(self) -> float | None:
        """Share of the time that the processes which run networks were at it, since the start."""
        status = self.status
        spent = status.pool_seconds if status.placement == "calls" else self.reconstructing
        return spent / self.forecast.worker_seconds if self.forecast.worker_seconds else None

    def write(self, ended: bool = False) -> None:
        """Write the state. Errors are ignored here; the data path reports them."""
        self.written = time.monotonic()
        running = [] if ended else [asdict(r) for r in self.status.running[:LISTED]]
        state = {
            "digest": self.context.digest,
            "started": self.started,
            "updated": _now(),
            "ended": ended,
            "seconds": time.monotonic() - self.began,
            "blocks_this_start": self.done,
            "placement": self.status.placement,
            "block_workers": self.status.block_workers,
            "pool": self.status.pool,
            "busy": self.busy(),
            "retries": self.retries,
            "active": 0 if ended else len(self.status.running),
            "running": running,
            "predicted": self.forecast.as_json(),
            "tally": self.tally.summary(),
        }
        with suppress(OSError, FolderError):
            self.store.folder.write(NAME, json.dumps(state).encode())


def read_state(store: RunStore, digest: str) -> dict[str, Any] | None:
    """The state that the latest start of a run wrote; None if there is none."""
    try:
        state = json.loads(store.folder.read(NAME) or b"{}")
    except ValueError:
        return None
    return state if state.get("digest") == digest else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
