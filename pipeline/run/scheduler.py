"""Submits the blocks of a run, a bounded number at a time, and acts on what becomes of them."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.errors import one_line
from ddgm.pipeline.run.dask_cluster import AttemptEnded, DaskCluster, StageMessage, WorkerLeaving
from ddgm.pipeline.run.events import (
    ActiveBlock,
    BlockDone,
    BlockFailed,
    BlockRetried,
    ClusterStatus,
    Stopping,
    Subscriber,
    Waiting,
)
from ddgm.pipeline.run.in_flight import METHOD, Attempt, InFlight
from ddgm.pipeline.run.placement import LOCAL, capacities, check_room, placement_of
from ddgm.pipeline.run.retry import (
    Abort,
    BlockState,
    Failure,
    GiveUp,
    Retry,
    StageTimeoutError,
    WorkerLost,
    decide,
)
from ddgm.pipeline.run.sharing.assignment import Assignment
from ddgm.pipeline.run.standstill import RunError, Standstill, run_error
from ddgm.pipeline.spec.cost.fetch import sharing
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.workers.members import Workers
from ddgm.workers.specs import Local

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0  # between polls of the workers

GONE = (
    "cluster: the scheduler is gone; start it and run the same spec again: finished blocks are kept"
)


class BlockScheduler:
    """A bounded number of blocks in flight, each with a bounded number of attempts.

    Args:
        cluster: that blocks are submitted to.
        context: passed to every task.
        store: for the records of failures.
        emit: called with every event.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cluster: DaskCluster,
        context: RunContext,
        store: RunStore,
        emit: Subscriber,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster, self.context, self.store = cluster, context, store
        self.emit, self.clock = emit, clock
        self.in_flight = InFlight()
        self.limits = context.plan.spec.limits
        self.retry_queue: list[tuple[float, int, BlockState]] = []  # when, block
        self.names: dict[str, str] = {}  # of workers by address, those that have gone among them
        self.workers, self.placement = Workers({}, frozenset()), LOCAL
        self.slots: dict[str, int] = {}
        local = isinstance(context.plan.spec.cluster, Local)
        self.standstill = Standstill(self.limits.block_seconds, local, clock)
        self.last_poll = clock()
        self.stopping = self.stop_announced = False
        self._submitted = 0

    def drain(self, pending: Iterator[int], check: Callable[[], None] = lambda: None) -> None:
        """Submit blocks and act on messages until every block has ended, or `stop` was called.

        Args:
            pending: blocks to run.
            check: called time and again; raises where the run must not go on.

        Raises:
            RunError: the run cannot go on: scheduler, disk, or nothing moves.
            PlanError: a worker cannot hold a block.
        """
        blocks = Assignment(pending, sharing(self.context.plan))
        self.cluster.listen()
        try:
            self._poll_workers()
            while self.in_flight or self.retry_queue or (blocks and not self.stopping):
                check()
                slots = dict(self.slots)
                while not self.stopping and (worker := self.in_flight.pick_worker(slots)):
                    if self.retry_queue and self.retry_queue[0][0] <= self.clock():
                        self._submit(heapq.heappop(self.retry_queue)[2], worker)
                    elif not blocks:
                        break
                    elif (block := blocks.next(worker, self.in_flight.has(worker))) is not None:
                        self._submit(BlockState(block), worker)
                    else:
                        del slots[worker]  # what is left is others', and it is at work
                self._process_messages()
                if self.clock() - self.last_poll > POLL_SECONDS:
                    self._poll_workers()
        except (CancelledError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a disk's; Dask's own have no number
            raise RunError(GONE) from error
        finally:
            self._cancel(list(self.in_flight))
            self.cluster.close()

    def stop(self) -> None:
        """Submit nothing more: `drain` ends once the blocks that are begun have ended."""
        self.stopping = True

    def _submit(self, state: BlockState, worker: str) -> None:
        self._submitted += 1
        name = f"{state.block:06d}-{self.context.topic[-8:]}-{self._submitted}"
        calls, readers = self.placement.calls_pool, len(self.workers.block_workers) or 1
        task = BlockTask(state.block, state.attempt, name, calls, self._submitted, readers)
        future = self.cluster.submit(task, worker, self.placement)
        self.in_flight.add(Attempt(name, state, worker, future))
        log.info("block %d: attempt %d submitted to %s", state.block, state.attempt, worker)

    def _cancel(self, attempts: list[Attempt]) -> None:
        self.cluster.cancel([attempt.future for attempt in attempts])
        for attempt in attempts:
            self.in_flight.remove(attempt)

    # messages

    def _process_messages(self) -> None:
        """Act on all messages there are; wait for some, a moment at most."""
        for message in self.cluster.messages(POLL_SECONDS / 4):
            self.standstill.moved()
            if isinstance(message, WorkerLeaving):
                self._on_leaving(message.worker)
                continue
            attempt = self.in_flight.get(message.name)
            if attempt is None:
                continue  # cancelled meanwhile
            if isinstance(message, StageMessage):
                self._on_stage(attempt, message.stage, message.worker)
            else:
                self._on_end(attempt, message)

    def _on_stage(self, attempt: Attempt, stage: str, worker: str) -> None:
        """A worker began a stage, or is through with it."""
        left = attempt.stage  # by a worker that is lost, if Dask has begun it anew by itself
        if left == METHOD and not stage:
            attempt.end_method()
        again = bool(stage and left) and (stage == left or worker == attempt.worker)
        attempt.stage, attempt.worker = stage, worker
        attempt.since, attempt.begun = self.clock(), True
        if again:  # a worker that was started anew may have the address of the one that died
            decision = decide(attempt.state, WorkerLost(left), self.limits.attempts)
            if isinstance(decision, GiveUp):
                self._cancel([attempt])
                self._give_up(attempt, decision.cause)
            elif not isinstance(decision, Abort):
                attempt.state = decision.state

    def _on_end(self, attempt: Attempt, message: AttemptEnded) -> None:
        self.in_flight.remove(attempt)
        if message.record is not None:
            log.info("block %d: done by %s", message.record.block, message.record.worker)
            self.emit(BlockDone(message.record))
        elif message.error is not None:
            self._on_failure(attempt, message.error, message.detail)
        elif message.dead_worker or self.cluster.connected:
            self._on_worker_death(attempt, message.dead_worker)
        else:
            raise RunError(GONE)

    # failures

    def _on_leaving(self, address: str) -> None:
        """A worker has its notice: its blocks are begun elsewhere, and nothing counts for it."""
        self.slots.pop(address, None)
        self._cancel(handed_back := self.in_flight.of_worker(address))
        for attempt in handed_back:
            self._on_failure(attempt, WorkerLost())

    def _on_worker_death(self, attempt: Attempt, address: str) -> None:
        """A worker died with the attempt: at work on it, or with it in its queue."""
        self._on_failure(attempt, WorkerLost(attempt.stage if address == attempt.worker else ""))

    def _on_failure(self, attempt: Attempt, failure: Failure, detail: str = "") -> None:
        """Do as the policy says of an attempt that is no longer in flight."""
        state = attempt.state
        cause = "worker lost" if isinstance(failure, WorkerLost) else one_line(failure)
        log.info("block %d: attempt %d failed: %s\n%s", state.block, state.attempt, cause, detail)
        decision = decide(state, failure, self.limits.attempts)
        if isinstance(decision, Abort):
            raise run_error(decision.error, self.context.root) from decision.error
        if isinstance(decision, GiveUp):
            self._give_up(attempt, decision.cause, detail)
        elif isinstance(decision, Retry):
            self.emit(BlockRetried(state.block, state.attempt, cause))
            self._queue(decision.state, decision.after)
        elif (record := self._done(state.block)) is not None:
            self.emit(BlockDone(record))  # by a worker that left before it could say so
        else:
            self._queue(decision.state)

    def _queue(self, state: BlockState, after: float = 0.0) -> None:
        heapq.heappush(self.retry_queue, (self.clock() + after, state.block, state))

    def _done(self, block: int) -> Record | None:
        """The block's record, if it is done."""
        record = self.store.ledger.record(block)
        if record is None or (record.state, record.digest) != ("done", self.context.digest):
            return None
        return record

    def _give_up(self, attempt: Attempt, error: BaseException, detail: str = "") -> None:
        state, address = attempt.state, attempt.worker or attempt.pinned_worker
        record = Record(
            state.block,
            self.context.digest,
            "failed",
            state.attempt,
            worker=self.names.get(address, address),
            cause=one_line(error),
            detail=detail,
        )
        self.store.ledger.put(record)
        self.emit(BlockFailed(record))

    # polling

    def _poll_workers(self) -> None:
        """Look at the workers, cancel what hangs or was lost, and emit the cluster's status."""
        plan = self.context.plan
        self.workers, self.last_poll = self.cluster.workers(), self.clock()
        self.names |= {a: w.name for a, w in self.workers.running.items()}
        self.placement = placement_of(plan.spec.pool, self.workers, self.placement)
        check_room(plan, self.workers, self.placement)
        self.slots = capacities(plan, self.workers, self.placement)
        if self.stopping:
            if not self.stop_announced:
                self.emit(Stopping())
                self.stop_announced = True
            self._cancel([attempt for attempt in self.in_flight if not attempt.begun])
            self.retry_queue.clear()
        for attempt in self.in_flight:
            if attempt.pinned_worker not in self.workers.all_addresses:
                self._cancel([attempt])
                self._on_worker_death(attempt, attempt.pinned_worker)
        self._end_what_hangs()
        if not self.slots:
            self.emit(Waiting(pool=bool(self.workers.running)))
        self.in_flight.note(said for w in self.workers.running.values() for said in w.work)
        self.standstill.check(self.in_flight, bool(self.slots))
        self.emit(self._status())

    def _end_what_hangs(self) -> None:
        """Restart workers that have been at one stage for too long; others keep their blocks."""
        limit, now = self.limits.block_seconds, self.clock()
        late = [a for a in self.in_flight if a.stage and now - a.since > limit]
        self._cancel(late)
        if workers := {a.worker for a in late} & self.workers.all_addresses:
            self.cluster.restart(workers)
            self.standstill.moved()
        for attempt in late:
            what = f"limits.block_seconds: {attempt.worker} was at {attempt.stage} for {limit:g} s"
            self._on_failure(attempt, StageTimeoutError(f"{what}; it was restarted"))

    def _status(self) -> ClusterStatus:
        pool, now = self.workers.pool, self.clock()
        active = tuple(
            ActiveBlock(
                a.state.block,
                a.stage,
                self.names.get(a.worker, a.worker),
                now - a.since,
                a.done,
                a.total,
            )
            for a in self.in_flight
            if a.stage
        )
        running = self.workers.running.values()
        once = tuple((w.name, said) for w in running for said in w.work if not said.task)
        network = self.cluster.network_stats(pool) if self.placement.calls_pool else {}
        block_workers = len(self.workers.block_workers)
        parts = self.in_flight.parts()
        return ClusterStatus(self.placement, block_workers, len(pool), active, network, parts, once)
