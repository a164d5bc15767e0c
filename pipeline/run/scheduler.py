"""The scheduler of blocks: which are begun, and which are tried again or given up."""

from __future__ import annotations

import heapq
import logging
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from ddgm.core.errors import DdgmError
from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.errors import one_line
from ddgm.pipeline.run.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    Stopping,
    Subscriber,
    Waiting,
)
from ddgm.pipeline.run.in_flight import (
    MAX_WORKER_DEATHS,
    Attempt,
    AttemptEnded,
    BlockState,
    InFlight,
    cluster_status,
    worker_killer,
)
from ddgm.pipeline.run.placement import Placement, Submit, capacities, check_room, placement_of
from ddgm.pipeline.run.placement import submit as submit_stages
from ddgm.pipeline.run.retry import (
    StageTimeoutError,
    WorkerKillerError,
    counts_as_attempt,
    is_fatal,
    is_retryable,
    killed,
)
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.workers.members import Workers, current_workers

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0  # seconds between polls of the workers
BACK_OFF_SECONDS = 2.0  # before the second attempt; four times as long before each next
MAX_RESUBMITS = 20  # of a block through no fault of its own, before it is given up all the same
RESTART_SECONDS = 30.0  # that a worker which hangs is given to come back

GONE = (
    "cluster: the scheduler is gone; start it and run the same spec again: finished blocks are kept"
)


class RunError(DdgmError):
    """A run that cannot go on."""


class BlockScheduler:
    """A bounded number of blocks in flight, each tried a bounded number of times.

    Args:
        client: of the cluster.
        context: passed to every task.
        store: for the records of failures.
        emit: called with every event.
        submit: hands a block to Dask.
    """

    def __init__(
        self,
        client: Client,
        context: RunContext,
        store: RunStore,
        emit: Subscriber,
        submit: Submit = submit_stages,
    ) -> None:
        self.client, self.context, self.store, self.emit = client, context, store, emit
        self.in_flight = InFlight(client, context, submit)
        self.limits = context.plan.spec.limits
        self.retry_queue: list[tuple[float, int, BlockState]] = []  # when, block
        self.names: dict[str, str] = {}  # of workers by address, those that have gone among them
        self.workers = Workers({}, frozenset())
        self.placement: Placement = "here"
        self.slots: dict[str, int] = {}
        self.last_poll = time.monotonic()
        self.stopping = self.stop_announced = False

    def drain(self, pending: Iterator[int]) -> None:
        """Submit, hear and submit again until every block has ended, or `stop` was called.

        Raises:
            RunError: the run cannot go on: scheduler, disk, or nothing moves.
            PlanError: a worker cannot hold a block.
        """
        states = (BlockState(block) for block in pending)
        ahead: BlockState | None = next(states, None)
        self.in_flight.listen()
        try:
            self._poll_workers()
            while (
                self.in_flight.attempts
                or self.retry_queue
                or (ahead is not None and not self.stopping)
            ):
                while not self.stopping and (
                    pinned_worker := self.in_flight.pick_worker(self.slots)
                ):
                    if self.retry_queue and self.retry_queue[0][0] <= time.monotonic():
                        self._submit(heapq.heappop(self.retry_queue)[2], pinned_worker)
                    elif ahead is not None:
                        self._submit(ahead, pinned_worker)
                        ahead = next(states, None)
                    else:
                        break
                self._process_messages()
                if time.monotonic() - self.last_poll > POLL_SECONDS:
                    self._poll_workers()
        except (CancelledError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a disk's; Dask's own have no number
            raise RunError(GONE) from error
        finally:
            self.in_flight.close()

    def stop(self) -> None:
        """Hand out nothing more: `drain` ends once the blocks that are begun have ended."""
        self.stopping = True

    def _submit(self, state: BlockState, pinned_worker: str) -> None:
        self.in_flight.submit(state, pinned_worker, self.placement)
        log.info("block %d: attempt %d submitted to %s", state.block, state.attempt, pinned_worker)

    # messages

    def _process_messages(self) -> None:
        """Take in all news there are; wait for some, a moment at most."""
        for message in self.in_flight.messages(POLL_SECONDS / 4):
            if not isinstance(message, AttemptEnded):
                self._on_stage(message.name, message.stage, message.worker)
            elif message.record is None:
                self._on_failure(message.name)
            else:
                self.in_flight.remove(message.name)
                log.info("block %d: done by %s", message.record.block, message.record.worker)
                self.emit(BlockDone(message.record))

    def _on_stage(self, name: str, stage: str, worker: str) -> None:
        """A worker began a stage, or is through with it."""
        attempt = self.in_flight.attempts[name]
        if stage and stage == attempt.stage and worker != attempt.worker:
            attempt.state.deaths += 1  # Dask has begun it anew by itself: the other one is lost
        attempt.stage, attempt.worker = stage, worker
        attempt.since, attempt.begun = time.monotonic(), True
        if attempt.state.deaths >= MAX_WORKER_DEATHS:
            self.in_flight.cancel([name])
            self._give_up(attempt, worker_killer(attempt))

    def _on_failure(self, name: str) -> None:
        """A try ended without a record."""
        future = self.in_flight.attempts[name].future
        if future.status != "error":
            if self.client.status != "running":
                raise RunError(GONE)
            self._resubmit(self.in_flight.remove(name))
            return
        error: Any = future.exception()
        trace: Any = future.traceback()
        attempt = self.in_flight.remove(name)
        self._on_error(attempt, error, "".join(traceback.format_tb(trace))[-2000:])

    # what went wrong

    def _on_error(self, attempt: Attempt, error: BaseException, detail: str) -> None:
        """Try a block again, count it as failed, or end the run, as its error asks for."""
        state, cause = attempt.state, one_line(error)
        log.info("block %d: attempt %d failed: %s\n%s", state.block, state.attempt, cause, detail)
        if is_fatal(error):
            if not isinstance(error, DdgmError):  # a disk's
                remedy = "make room or mend the permissions"
                cause = f"output.path: {self.context.root}: {cause}; {remedy}"
            raise RunError(
                f"{cause}, and run the same spec again: finished blocks are kept"
            ) from error
        if (death := killed(error)) is not None:
            self._on_worker_death(attempt, death.last_worker.address)
        elif not counts_as_attempt(error):
            self._resubmit(attempt)
        elif state.attempt < self.limits.attempts and is_retryable(error):
            pause = BACK_OFF_SECONDS * 4 ** (state.attempt - 1)
            self.emit(BlockRetried(state.block, state.attempt, cause))
            state.attempt += 1
            heapq.heappush(self.retry_queue, (time.monotonic() + pause, state.block, state))
        else:
            self._give_up(attempt, error, detail)

    def _on_worker_death(self, attempt: Attempt, worker: str) -> None:
        """A worker died with the block's task: at work on it, or only next in its queue."""
        state = attempt.state
        if attempt.stage and attempt.worker == worker:
            state.deaths += 1
        if state.deaths >= MAX_WORKER_DEATHS:
            self._give_up(attempt, worker_killer(attempt))
        else:
            self._resubmit(attempt)

    def _resubmit(self, attempt: Attempt) -> None:
        """Begin a block anew, without counting it as an attempt."""
        state = attempt.state
        record = self.store.ledger.record(state.block)
        if record is not None and (record.state, record.digest) == ("done", self.context.digest):
            self.emit(BlockDone(record))  # by a worker that left before it could say so
            return
        state.resubmits += 1
        if state.resubmits > MAX_RESUBMITS:
            what = f"its workers were lost {MAX_RESUBMITS} times; look at their logs"
            self._give_up(attempt, WorkerKillerError(what))
            return
        heapq.heappush(self.retry_queue, (time.monotonic(), state.block, state))

    def _give_up(self, attempt: Attempt, error: BaseException, detail: str = "") -> None:
        address = attempt.worker or attempt.pinned_worker
        record = Record(
            attempt.state.block,
            self.context.digest,
            "failed",
            attempt.state.attempt,
            worker=self.names.get(address, address),
            cause=one_line(error),
            detail=detail,
        )
        self.store.ledger.put(record)
        self.emit(BlockFailed(record))

    # polling

    def _poll_workers(self) -> None:
        """See who is there, what hangs and what was lost, and tell how things stand."""
        self.workers, self.last_poll = current_workers(self.client), time.monotonic()
        self.names = {a: m.name for a, m in self.workers.running.items()} | self.names
        self.placement = placement_of(self.context.plan.spec.pool, self.workers, self.placement)
        check_room(self.context.plan, self.workers, self.placement)
        self.slots = capacities(self.context.plan, self.workers, self.placement)
        if self.stopping:
            if not self.stop_announced:
                self.emit(Stopping())
                self.stop_announced = True
            waiting = [name for name, a in self.in_flight.attempts.items() if not a.begun]
            self.in_flight.cancel(waiting)
            self.retry_queue.clear()
        for name, attempt in list(self.in_flight.attempts.items()):
            if attempt.pinned_worker not in self.workers.all_addresses:
                self.in_flight.cancel([name])
                self._on_worker_death(attempt, attempt.pinned_worker)
        self._end_what_hangs()
        if not self.slots:
            self.emit(Waiting(pool=bool(self.workers.running)))
        self._check_motion()
        attempts = self.in_flight.attempts.values()
        self.emit(cluster_status(self.client, self.workers, self.placement, attempts))

    def _end_what_hangs(self) -> None:
        """Restart workers that have been at one stage for too long; others keep their blocks."""
        limit, now = self.limits.block_seconds, time.monotonic()
        late = [n for n, f in self.in_flight.attempts.items() if f.stage and now - f.since > limit]
        if not late:
            return
        attempts = self.in_flight.cancel(late)
        workers = sorted({f.worker for f in attempts} & self.workers.all_addresses)
        if workers:
            self.client.restart_workers(workers, timeout=RESTART_SECONDS, raise_for_error=False)
            self.in_flight.last_message = time.monotonic()
        for attempt in attempts:
            what = f"limits.block_seconds: {attempt.worker} was at {attempt.stage} for {limit:g} s"
            self._on_error(attempt, StageTimeoutError(f"{what}; it was restarted"), "")

    def _check_motion(self) -> None:
        """Give up when blocks are in flight, workers are there, and nothing happens at all."""
        limit = self.limits.block_seconds
        quiet = time.monotonic() - self.in_flight.last_message
        attempts = self.in_flight.attempts.values()
        if not attempts or not self.slots or any(a.stage for a in attempts):
            self.in_flight.last_message = time.monotonic()
        elif quiet > limit + RESTART_SECONDS:
            stuck = ", ".join(str(a.state.block) for a in attempts)
            raise RunError(
                f"limits.block_seconds: no worker has begun or ended anything for {quiet:.0f} s; "
                f"blocks {stuck} were in flight; look at the workers, and run the same spec again: "
                "finished blocks are kept"
            )
