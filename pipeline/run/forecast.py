"""Predicted time of a run: calls timed by one worker, divided by the mean number of workers."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.run.events import ClusterStatus, Event
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.workers.members import RESOURCE, current_workers

if TYPE_CHECKING:
    from distributed import Client, Future

HAND_OVER_SECONDS = 5.0  # that a worker is given to hand over one number


class Forecast:
    """Subscribes to a run's events; at the first that tells of workers, has one time its calls.

    Workers come and go, so the time is what the work takes one of them, over how many there were
    on average: those of the pool, or where there is none all.

    Args:
        client: of the cluster that the run is on.
        context: what is run.
        blocks: that were not done when it started.
    """

    def __init__(self, client: Client, context: RunContext, blocks: int) -> None:
        self.client, self.context, self.blocks = client, context, blocks
        self._placement = "here"
        self._slice: float | None = None
        self._timing: Future | None = None
        self._began = self._seen = time.monotonic()
        self._workers, self._worker_seconds = 0, 0.0

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if not isinstance(event, ClusterStatus):
            return
        self._count()
        self._placement = event.placement
        self._workers = event.block_workers if event.placement == "here" else event.pool
        if self._workers and event.block_workers and self._timing is None:
            self._timing = self._timed()

    @property
    def worker_seconds(self) -> float:
        """Worker-seconds so far, summed over the workers that run the network."""
        self._count()
        return self._worker_seconds

    def seconds(self) -> float | None:
        """Predicted seconds of the method; None while nothing has been timed."""
        timing = self._timing
        if self._slice is None and timing is not None and timing.status == "finished":
            with suppress(Exception):  # lost with its worker
                self._slice = timing.result(timeout=HAND_OVER_SECONDS)
        if self._slice is None or not self.worker_seconds:
            return None
        spec = self.context.plan.spec
        workers = self.worker_seconds / (self._seen - self._began)
        # no run ends before its one block, however many workers there are
        return self._slice * spec.block.slices * max(self.blocks / workers, 1.0)

    def as_json(self) -> dict[str, Any]:
        """Predicted seconds, and bytes of a worker that holds blocks."""
        memory = worker_memory(self.context.plan, network=self._placement == "here")
        return {"seconds": self.seconds(), "memory": memory.total}

    def _count(self) -> None:
        now = time.monotonic()
        self._worker_seconds += self._workers * (now - self._seen)
        self._seen = now

    def _timed(self) -> Future | None:
        """Time the calls on a worker that runs the method; with `calls`, network calls, too."""
        workers = current_workers(self.client)
        running = workers.pool if self._placement == "whole" else workers.block_workers
        if not running:  # gone since
            return None
        name = f"calibrate-{self.context.topic[-8:]}"
        where: dict[str, Any] = {"workers": [running[0].address], "priority": 1, "pure": False}
        if self._placement == "whole":  # a pool worker does one thing at a time
            where["resources"] = {RESOURCE: 1}
        calls = self._placement == "calls"
        return self.client.submit(seconds_a_slice, self.context, calls, key=name, **where)


def seconds_a_slice(context: RunContext, calls: bool) -> float:
    """Seconds of the method for a slice, by one timed call of each kind from this process."""
    return time_calls(context.plan, calls).slice
