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
from ddgm.pipeline.block.task import Job
from ddgm.pipeline.errors import one_line
from ddgm.pipeline.run.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    Stopping,
    Subscriber,
    Waiting,
)
from ddgm.pipeline.run.in_flight import DEATHS, Case, Ended, Flight, Traffic, beat_of, deadly
from ddgm.pipeline.run.placement import (
    Placement,
    Submit,
    capacities,
    check_room,
    placement_of,
    submit,
)
from ddgm.pipeline.run.retry import (
    DeadlyError,
    LateError,
    blameless,
    ends_the_run,
    killed,
    worth_retrying,
)
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.workers.members import Fleet, fleet_of

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

TICK = 2.0  # seconds between looks at the fleet
BACK_OFF = 2.0  # seconds before the second try of a block; four times as long before each next
RESTARTS = 20  # of a block through no fault of its own, before it is given up all the same
RESTART_SECONDS = 30.0  # that a worker which hangs is given to come back

GONE = (
    "cluster: the scheduler is gone; start it and run the same spec again: finished blocks are kept"
)


class RunError(DdgmError):
    """A run that cannot go on."""


class Window:
    """A bounded number of blocks in flight, each tried a bounded number of times.

    Args:
        client: of the cluster.
        job: what every task is told.
        store: for the records of failures.
        emit: told of all that happens.
        submit: hands a block to Dask.
    """

    def __init__(
        self, client: Client, job: Job, store: RunStore, emit: Subscriber, submit: Submit = submit
    ) -> None:
        self.client, self.job, self.store, self.emit = client, job, store, emit
        self.traffic = Traffic(client, job, submit)
        self.flying = self.traffic.flying
        self.limits = job.plan.spec.limits
        self.later: list[tuple[float, int, Case]] = []  # when, block
        self.names: dict[str, str] = {}  # of workers by address, those that have gone among them
        self.fleet = Fleet({}, frozenset())
        self.placement: Placement = "here"
        self.room: dict[str, int] = {}
        self.looked = time.monotonic()
        self.stopping = self.told = False

    def drain(self, pending: Iterator[int]) -> None:
        """Submit, hear and submit again until every block has ended, or `stop` was called.

        Raises:
            RunError: the run cannot go on: scheduler, disk, or nothing moves.
            PlanError: a worker cannot hold a block.
        """
        cases = (Case(block) for block in pending)
        ahead: Case | None = next(cases, None)
        self.traffic.listen()
        try:
            self._look()
            while self.flying or self.later or (ahead is not None and not self.stopping):
                while not self.stopping and (home := self.traffic.home(self.room)):
                    if self.later and self.later[0][0] <= time.monotonic():
                        self._launch(heapq.heappop(self.later)[2], home)
                    elif ahead is not None:
                        self._launch(ahead, home)
                        ahead = next(cases, None)
                    else:
                        break
                self._hear()
                if time.monotonic() - self.looked > TICK:
                    self._look()
        except (CancelledError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a disk's; Dask's own have no number
            raise RunError(GONE) from error
        finally:
            self.traffic.close()

    def stop(self) -> None:
        """Hand out nothing more: `drain` ends once the blocks that are begun have ended."""
        self.stopping = True

    def _launch(self, case: Case, home: str) -> None:
        self.traffic.launch(case, home, self.placement)
        log.info("block %d: attempt %d submitted to %s", case.block, case.attempt, home)

    # hearing

    def _hear(self) -> None:
        """Take in all news there are; wait for some, a moment at most."""
        for news in self.traffic.news(TICK / 4):
            if not isinstance(news, Ended):
                self._at(news.name, news.stage, news.worker)
            elif news.record is None:
                self._ended(news.name)
            else:
                self.traffic.land(news.name)
                log.info("block %d: done by %s", news.record.block, news.record.worker)
                self.emit(BlockDone(news.record))

    def _at(self, name: str, stage: str, worker: str) -> None:
        """A worker began a stage, or is through with it."""
        flight = self.flying[name]
        if stage and stage == flight.stage and worker != flight.worker:
            flight.case.deaths += 1  # Dask has begun it anew by itself: the other one is lost
        flight.stage, flight.worker = stage, worker
        flight.since, flight.begun = time.monotonic(), True
        if flight.case.deaths >= DEATHS:
            self.traffic.cancel([name])
            self._give_up(flight, deadly(flight))

    def _ended(self, name: str) -> None:
        """A try ended without a record."""
        future = self.flying[name].future
        if future.status != "error":
            if self.client.status != "running":
                raise RunError(GONE)
            self._again(self.traffic.land(name))
            return
        error: Any = future.exception()
        trace: Any = future.traceback()
        flight = self.traffic.land(name)
        self._mishap(flight, error, "".join(traceback.format_tb(trace))[-2000:])

    # what went wrong

    def _mishap(self, flight: Flight, error: BaseException, detail: str) -> None:
        """Try a block again, count it as failed, or end the run, as its error asks for."""
        case, cause = flight.case, one_line(error)
        log.info("block %d: attempt %d failed: %s\n%s", case.block, case.attempt, cause, detail)
        if ends_the_run(error):
            if not isinstance(error, DdgmError):  # a disk's
                cause = f"output.path: {self.job.root}: {cause}; make room or mend the permissions"
            raise RunError(
                f"{cause}, and run the same spec again: finished blocks are kept"
            ) from error
        if (death := killed(error)) is not None:
            self._died(flight, death.last_worker.address)
        elif blameless(error):
            self._again(flight)
        elif case.attempt < self.limits.attempts and worth_retrying(error):
            pause = BACK_OFF * 4 ** (case.attempt - 1)
            self.emit(BlockRetried(case.block, case.attempt, cause))
            case.attempt += 1
            heapq.heappush(self.later, (time.monotonic() + pause, case.block, case))
        else:
            self._give_up(flight, error, detail)

    def _died(self, flight: Flight, worker: str) -> None:
        """A worker died with the block's task: at work on it, or only next in its queue."""
        case = flight.case
        if flight.stage and flight.worker == worker:
            case.deaths += 1
        if case.deaths >= DEATHS:
            self._give_up(flight, deadly(flight))
        else:
            self._again(flight)

    def _again(self, flight: Flight) -> None:
        """Begin a block anew, without counting it as an attempt."""
        case = flight.case
        record = self.store.record(case.block)
        if record is not None and (record.state, record.digest) == ("done", self.job.digest):
            self.emit(BlockDone(record))  # by a worker that left before it could say so
            return
        case.restarts += 1
        if case.restarts > RESTARTS:
            error = DeadlyError(f"its workers were lost {RESTARTS} times; look at their logs")
            self._give_up(flight, error)
            return
        heapq.heappush(self.later, (time.monotonic(), case.block, case))

    def _give_up(self, flight: Flight, error: BaseException, detail: str = "") -> None:
        address = flight.worker or flight.home
        record = Record(
            flight.case.block,
            self.job.digest,
            "failed",
            flight.case.attempt,
            worker=self.names.get(address, address),
            cause=one_line(error),
            detail=detail,
        )
        self.store.put(record)
        self.emit(BlockFailed(record))

    # looking

    def _look(self) -> None:
        """See who is there, what hangs and what was lost, and tell how things stand."""
        self.fleet, self.looked = fleet_of(self.client), time.monotonic()
        self.names = {a: m.name for a, m in self.fleet.members.items()} | self.names
        self.placement = placement_of(self.job.plan.spec.pool, self.fleet, self.placement)
        check_room(self.job.plan, self.fleet, self.placement)
        self.room = capacities(self.job.plan, self.fleet, self.placement)
        if self.stopping:
            if not self.told:
                self.emit(Stopping())
                self.told = True
            self.traffic.cancel([name for name, f in self.flying.items() if not f.begun])
            self.later.clear()
        for name, flight in list(self.flying.items()):
            if flight.home not in self.fleet.known:
                self.traffic.cancel([name])
                self._died(flight, flight.home)
        self._end_what_hangs()
        if not self.room:
            self.emit(Waiting(pool=bool(self.fleet.members)))
        self._check_motion()
        self.emit(beat_of(self.client, self.fleet, self.placement, self.flying.values()))

    def _end_what_hangs(self) -> None:
        """Restart workers that have been at one stage for too long; others keep their blocks."""
        limit, now = self.limits.block_seconds, time.monotonic()
        late = [n for n, f in self.flying.items() if f.stage and now - f.since > limit]
        if not late:
            return
        flights = self.traffic.cancel(late)
        workers = sorted({f.worker for f in flights} & self.fleet.known)
        if workers:
            self.client.restart_workers(workers, timeout=RESTART_SECONDS, raise_for_error=False)
            self.traffic.heard = time.monotonic()
        for flight in flights:
            what = f"limits.block_seconds: {flight.worker} was at {flight.stage} for {limit:g} s"
            self._mishap(flight, LateError(f"{what}; it was restarted"), "")

    def _check_motion(self) -> None:
        """Give up when blocks are in flight, workers are there, and nothing happens at all."""
        limit = self.limits.block_seconds
        quiet = time.monotonic() - self.traffic.heard
        if not self.flying or not self.room or any(f.stage for f in self.flying.values()):
            self.traffic.heard = time.monotonic()
        elif quiet > limit + RESTART_SECONDS:
            stuck = ", ".join(str(f.case.block) for f in self.flying.values())
            raise RunError(
                f"limits.block_seconds: no worker has begun or ended anything for {quiet:.0f} s; "
                f"blocks {stuck} were in flight; look at the workers, and run the same spec again: "
                "finished blocks are kept"
            )
