"""A block on its way through the cluster: what is known of it, and of its tries."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddgm.pipeline.run.events import ActiveBlock, ClusterStatus
from ddgm.pipeline.run.retry import WorkerKillerError
from ddgm.workers.members import Workers
from ddgm.workers.pool_worker import STATS

if TYPE_CHECKING:
    from distributed import Client, Future
import asyncio
import queue
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run.placement import Placement, Submit
from ddgm.pipeline.store.ledger import Record

MAX_WORKER_DEATHS = 2  # of workers at work on a block, before it is taken for the cause


@dataclass
class BlockState:
    """A block that has not ended, over all of its tries.

    Attributes:
        attempt: under way; one that failed through no fault of the block does not count.
        deaths: of workers that were at work on it.
        resubmits: through no fault of its own.
    """

    block: int
    attempt: int = 1
    deaths: int = 0
    resubmits: int = 0


@dataclass
class Attempt:
    """One try of a block, with Dask.

    Attributes:
        pinned_worker: address of the worker that has the block.
        stage: that a worker is at now; empty while none is.
        worker: address of who is at it, or was at the last one.
        since: monotonic seconds.
        begun: whether any stage has been.
    """

    state: BlockState
    pinned_worker: str
    future: Future
    stage: str = ""
    worker: str = ""
    since: float = 0.0
    begun: bool = False


def worker_killer(attempt: Attempt) -> WorkerKillerError:
    """The error of a block at which workers die."""
    return WorkerKillerError(
        f"{MAX_WORKER_DEATHS} workers died at it, the last at stage {attempt.stage or 'unknown'}; "
        "look for memory (`ddgm plan` says what a block needs) and for crashes in their logs"
    )


def cluster_status(
    client: Client, workers: Workers, placement: str, attempts: Collection[Attempt]
) -> ClusterStatus:
    """State of the cluster, for observers."""
    spent = 0.0
    if placement == "calls":
        scheduler: Any = client.scheduler
        pool = [m.address for m in workers.pool]
        answers: Any = client.sync(
            scheduler.broadcast, msg={"op": STATS}, workers=pool, on_error="return"
        )
        spent = sum(t.get("busy", 0.0) for t in answers.values() if isinstance(t, dict))
    names, now = {a: m.name for a, m in workers.running.items()}, time.monotonic()
    running = tuple(
        ActiveBlock(f.state.block, f.stage, names.get(f.worker, f.worker), now - f.since)
        for f in attempts
        if f.stage
    )
    return ClusterStatus(placement, len(workers.block_workers), len(workers.pool), running, spent)


GATHER_SECONDS = 30.0  # that a worker is given to hand over a record
TIDY_EVERY = 1000  # tries between two tidyings of the scheduler


@dataclass(frozen=True)
class StageMessage:
    """A worker began a stage of a try, or, with none named, is through with it."""

    name: str
    stage: str
    worker: str


@dataclass(frozen=True)
class AttemptEnded:
    """A try ended; without a record where it failed, or where its worker died with it."""

    name: str
    record: Record | None


class InFlight:
    """Tries of blocks that are with Dask, and the news of them.

    Attributes:
        attempts: tries by name.
        last_message: monotonic seconds of the last message.
    """

    def __init__(self, client: Client, context: RunContext, submit: Submit) -> None:
        self.client, self.context, self._submit_block = client, context, submit
        self.attempts: dict[str, Attempt] = {}
        self.last_message = time.monotonic()
        self._load: Counter[str] = Counter()  # attempts by pinned worker
        self._messages: queue.SimpleQueue[StageMessage | AttemptEnded] = queue.SimpleQueue()
        self._tries = 0

    def listen(self) -> None:
        """From now on, what the workers say of this run is news."""
        self.client.subscribe_topic(
            self.context.topic, lambda event: self._messages.put(_stage_message(event[1]))
        )

    def close(self) -> None:
        """Call off what is flying, and hear no more of it.

        A worker may still speak of a try that was called off, and a scheduler that would pass it on
        to a client that has just gone complains on the user's screen.
        """
        self.cancel(list(self.attempts))
        if self.client.status == "running":
            self.client.unsubscribe_topic(self.context.topic)

    def pick_worker(self, slots: Mapping[str, int]) -> str | None:
        """Pick the worker with the most free slots; None where all are full."""
        left = {address: n - self._load[address] for address, n in slots.items()}
        best = max(left, key=left.__getitem__, default=None)
        return best if best is not None and left[best] > 0 else None

    def submit(self, state: BlockState, pinned_worker: str, placement: Placement) -> None:
        """Hand a block to Dask."""
        self._tries += 1
        name = f"{state.block:06d}-{self.context.topic[-8:]}-{self._tries}"
        task = BlockTask(state.block, state.attempt, name, placement == "calls")
        future = self._submit_block(self.client, self.context, task, pinned_worker, placement)
        self.attempts[name] = Attempt(state, pinned_worker, future)
        self._load[pinned_worker] += 1
        if self._tries % TIDY_EVERY == 0:
            with suppress(Exception):  # a scheduler that cannot keeps the list, and grows
                self.client.run_on_scheduler(forget_submissions)
        loop: Any = self.client.loop
        loop.add_callback(self._follow, name, future)

    async def _follow(self, name: str, future: Future) -> None:
        """Wait for a try's end and fetch its record, in Dask's own thread, beside the others."""
        record: Any = None
        with suppress(Exception):  # it failed, or its worker died with the record
            if await future.exception(asynchronous=True) is None:
                fetched: Any = self.client.gather(future, asynchronous=True)
                record = await asyncio.wait_for(fetched, GATHER_SECONDS)
        self._messages.put(AttemptEnded(name, record))

    def remove(self, name: str) -> Attempt:
        """Forget a try."""
        attempt = self.attempts.pop(name)
        self._load[attempt.pinned_worker] -= 1
        attempt.future.release()
        return attempt

    def cancel(self, names: list[str]) -> list[Attempt]:
        """Call tries off, and forget them."""
        if names and self.client.status == "running":
            self.client.cancel([self.attempts[name].future for name in names], force=True)
        return [self.remove(name) for name in names]

    def messages(self, seconds: float) -> Iterator[StageMessage | AttemptEnded]:
        """All news there is of what is flying; waits for some, so long at most."""
        with suppress(queue.Empty):
            message = self._messages.get(timeout=seconds)
            while True:
                self.last_message = time.monotonic()
                if message.name in self.attempts:
                    yield message
                message = self._messages.get_nowait()


def _stage_message(said: Mapping[str, str]) -> StageMessage:
    return StageMessage(said["task"], said["stage"], said["worker"])


def forget_submissions(dask_scheduler: Any) -> None:
    """Dask's spans keep a line for every task that was ever submitted: half a kB a block."""
    if (spans := dask_scheduler.extensions.get("spans")) is not None:
        for span in spans.spans.values():
            if span.metadata:
                span.metadata["collections"].clear()
