"""All that the driver asks of Dask: who is there, submit, cancel, restart, and messages."""

from __future__ import annotations

import asyncio
import queue
import traceback
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run.placement import Placement, Submit, submit_stages
from ddgm.pipeline.store.ledger import Record
from ddgm.workers.members import LEAVING, WorkerInfo, Workers, current_workers, import_beside
from ddgm.workers.pool_worker import STATS

if TYPE_CHECKING:
    from distributed import Client, Future

GATHER_SECONDS = 30.0  # that a worker is given to hand over a record
RESTART_SECONDS = 30.0  # that a worker which hangs is given to come back
TIDY_EVERY = 1000  # submissions between two tidyings of the scheduler


@dataclass(frozen=True)
class StageMessage:
    """A worker began a stage of an attempt, or, with none named, is through with it."""

    name: str
    stage: str
    worker: str


@dataclass(frozen=True)
class AttemptEnded:
    """An attempt ended: with a record, with an error, or, lost with its worker, with neither.

    Attributes:
        name: of the attempt.
        record: of the block that is done.
        error: of the stage that failed.
        detail: where in the code.
        dead_worker: address of the worker that Dask saw die with the attempt.
    """

    name: str
    record: Record | None = None
    error: BaseException | None = None
    detail: str = ""
    dead_worker: str = ""


@dataclass(frozen=True)
class WorkerLeaving:
    """A worker closes: it had its notice, or is to be restarted."""

    worker: str


Message = StageMessage | AttemptEnded | WorkerLeaving


class DaskCluster:
    """The cluster of a run, for its driver.

    Args:
        client: of the cluster.
        context: what every task is told.
        submit: hands the stages of a block to Dask.
    """

    def __init__(self, client: Client, context: RunContext, submit: Submit = submit_stages) -> None:
        self.client, self.context, self._submit = client, context, submit
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._submitted = 0

    @property
    def connected(self) -> bool:
        """True while the scheduler answers."""
        return self.client.status == "running"

    def listen(self) -> None:
        """Receive from now on what the workers report of this run."""

        def receive(event: tuple[float, Any]) -> None:
            said = event[1]
            self._messages.put(StageMessage(said["task"], said["stage"], said["worker"]))

        def hear(event: tuple[float, Any]) -> None:
            self._messages.put(WorkerLeaving(event[1]))

        self.client.subscribe_topic(self.context.topic, receive)
        self.client.subscribe_topic(LEAVING, hear)
        with suppress(Exception):  # what a scheduler cannot import, its first task says
            self.client.run_on_scheduler(import_beside, submit_stages.__module__)

    def close(self) -> None:
        """Receive nothing more.

        A worker may still report an attempt that was cancelled, and a scheduler that would pass it
        on to a client that has just gone complains on the user's screen.
        """
        if self.connected:
            self.client.unsubscribe_topic(self.context.topic)
            self.client.unsubscribe_topic(LEAVING)

    def workers(self) -> Workers:
        """The workers as they are now."""
        return current_workers(self.client)

    def submit(self, task: BlockTask, worker: str, placement: Placement) -> Future:
        """Hand a block to Dask."""
        future = self._submit(self.client, self.context, task, worker, placement)
        self._submitted += 1
        if self._submitted % TIDY_EVERY == 0:
            with suppress(Exception):  # a scheduler that cannot keeps the list, and grows
                self.client.run_on_scheduler(forget_submissions)
        loop: Any = self.client.loop
        loop.add_callback(self._follow, task.name, future)
        return future

    def cancel(self, futures: Sequence[Future]) -> None:
        """Let Dask drop these tasks, though others may want them."""
        if futures and self.connected:
            self.client.cancel(list(futures), force=True)

    def restart(self, addresses: Collection[str]) -> None:
        """Restart workers; those that do not come back in time are left to their nannies."""
        self.client.restart_workers(
            sorted(addresses), timeout=RESTART_SECONDS, raise_for_error=False
        )

    def network_stats(self, pool: Sequence[WorkerInfo]) -> Counter[str]:
        """The pool's counts of network calls for others, summed; see `BatcherStats`."""
        scheduler: Any = self.client.scheduler
        addresses = [worker.address for worker in pool]
        answers: Any = self.client.sync(
            scheduler.broadcast, msg={"op": STATS}, workers=addresses, on_error="return"
        )
        counted: Counter[str] = Counter()
        for answer in answers.values():
            if isinstance(answer, dict):
                counted.update(answer)
        return counted

    def messages(self, seconds: float) -> Iterator[Message]:
        """All messages there are; waits for the first, so long at most."""
        with suppress(queue.Empty):
            yield self._messages.get(timeout=seconds)
            while True:
                yield self._messages.get_nowait()

    async def _follow(self, name: str, future: Future) -> None:
        """Wait for an attempt's end and fetch its record, in Dask's own thread."""
        from distributed.scheduler import KilledWorker

        ended = AttemptEnded(name)
        with suppress(Exception):  # cancelled, or its worker died with the record
            error: Any = await future.exception(asynchronous=True)
            if error is None:
                fetched: Any = self.client.gather(future, asynchronous=True)
                record: Any = await asyncio.wait_for(fetched, GATHER_SECONDS)
                ended = AttemptEnded(name, record)
            elif isinstance(error, KilledWorker):
                ended = AttemptEnded(name, dead_worker=error.last_worker.address)
            else:
                ended = AttemptEnded(name, error=error)
                trace: Any = await future.traceback(asynchronous=True)
                detail = "".join(traceback.format_tb(trace))[-2000:]
                ended = AttemptEnded(name, error=error, detail=detail)
        self._messages.put(ended)


def forget_submissions(dask_scheduler: Any) -> None:
    """Clear what Dask's spans keep of every submission, half a kB a block, for ever.

    There is no public way: https://github.com/dask/distributed/issues/7977 (open).
    """
    if (spans := dask_scheduler.extensions.get("spans")) is not None:
        for span in spans.spans.values():
            if span.metadata:
                span.metadata["collections"].clear()
