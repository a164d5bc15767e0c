"""Predicted time of a run: calls timed by one worker, divided by the mean number of workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.run.events import ClusterStatus, RunObserver
from ddgm.pipeline.run.placement import LOCAL
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.workers.members import RESOURCE, current_workers

if TYPE_CHECKING:
    from distributed import Client, Future

HAND_OVER_SECONDS = 5.0  # that a worker is given to hand over one number


class Forecast(RunObserver):
    """Has a worker time its calls as soon as there is one, and predicts a run's time from them.

    Workers come and go, so the time is what the work takes one of them, over how many there were
    on average: those of the pool, or where there is none all.

    Args:
        client: of the cluster that the run is on.
        context: what is run.
        blocks: that were not done when it started.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: Client,
        context: RunContext,
        blocks: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client, self.context, self.blocks = client, context, blocks
        self._clock = clock
        self._placement = LOCAL
        self._slice: float | None = None
        self._timing: Future | None = None
        self._began = self._seen = clock()
        self._workers, self._worker_seconds = 0, 0.0

    def on_cluster_status(self, event: ClusterStatus) -> None:
        """Count the workers that run the network."""
        self._count()
        self._placement = event.placement
        local = event.placement.network_on_block_workers
        self._workers = event.block_workers if local else event.pool
        if self._workers and event.block_workers and self._timing is None:
            self._timing = self._timed()

    @property
    def worker_seconds(self) -> float:
        """Worker-seconds so far, summed over the workers that run the network."""
        self._count()
        return self._worker_seconds

    def seconds(self) -> float | None:
        """Predicted seconds of the method; None while nothing has been timed."""
        each, workers = self.block_seconds(), self.workers()
        if each is None or not workers:
            return None
        # no run ends before its one block, however many workers there are
        return each * max(self.blocks / workers, 1.0)

    def block_seconds(self) -> float | None:
        """Predicted seconds of the method for a block; None while nothing has been timed."""
        timing = self._timing
        if self._slice is None and timing is not None and timing.status == "finished":
            with suppress(Exception):  # lost with its worker
                self._slice = timing.result(timeout=HAND_OVER_SECONDS)
        if self._slice is None:
            return None
        return self._slice * self.context.plan.spec.block.slices

    def workers(self) -> float:
        """Workers that run the network, on average since the start."""
        return self.worker_seconds / max(self._seen - self._began, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """Predicted seconds, and bytes of a worker that holds blocks."""
        memory = worker_memory(self.context.plan, network=self._placement.network_on_block_workers)
        return {"seconds": self.seconds(), "memory": memory.total}

    def _count(self) -> None:
        now = self._clock()
        self._worker_seconds += self._workers * (now - self._seen)
        self._seen = now

    def _timed(self) -> Future | None:
        """Time the calls on a worker that runs the method; with `calls`, network calls, too."""
        workers = self._placement.method_workers(current_workers(self.client))
        if not workers:  # gone since
            return None
        name = f"calibrate-{self.context.topic[-8:]}"
        where: dict[str, Any] = {"workers": [workers[0].address], "priority": 1, "pure": False}
        if self._placement.method_on_pool:  # a pool worker does one thing at a time
            where["resources"] = {RESOURCE: 1}
        calls = self._placement.calls_pool
        return self.client.submit(seconds_a_slice, self.context, calls, key=name, **where)


def seconds_a_slice(context: RunContext, calls: bool) -> float:
    """Seconds of the method for a slice, by one timed call of each kind from this process."""
    return time_calls(context.plan, calls).slice
