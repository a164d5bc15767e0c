"""A block on its way through the cluster: what is known of it, and of its tries."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddgm.pipeline.run.events import Beat, Running
from ddgm.pipeline.run.retry import DeadlyError
from ddgm.workers.members import Fleet
from ddgm.workers.pool_worker import STATS

if TYPE_CHECKING:
    from distributed import Client, Future
import asyncio
import queue
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ddgm.pipeline.block.task import Job, Trial
from ddgm.pipeline.run.placement import Placement, Submit
from ddgm.pipeline.store.ledger import Record

DEATHS = 2  # of workers at work on a block, before it is taken for the cause


@dataclass
class Case:
    """A block that has not ended, over all of its tries.

    Attributes:
        attempt: under way; one that failed through no fault of the block does not count.
        deaths: of workers that were at work on it.
        restarts: through no fault of its own.
    """

    block: int
    attempt: int = 1
    deaths: int = 0
    restarts: int = 0


@dataclass
class Flight:
    """One try of a block, with Dask.

    Attributes:
        home: address of the worker that has the block.
        stage: that a worker is at now; empty while none is.
        worker: address of who is at it, or was at the last one.
        since: monotonic seconds.
        begun: whether any stage has been.
    """

    case: Case
    home: str
    future: Future
    stage: str = ""
    worker: str = ""
    since: float = 0.0
    begun: bool = False


def deadly(flight: Flight) -> DeadlyError:
    """The error of a block at which workers die."""
    return DeadlyError(
        f"{DEATHS} workers died at it, the last at stage {flight.stage or 'unknown'}; look for "
        "memory (`ddgm plan` says what a block needs) and for crashes in their logs"
    )


def beat_of(client: Client, fleet: Fleet, placement: str, flights: Collection[Flight]) -> Beat:
    """State of the cluster, for observers."""
    spent = 0.0
    if placement == "calls":
        scheduler: Any = client.scheduler
        pool = [m.address for m in fleet.pool]
        told: Any = client.sync(
            scheduler.broadcast, msg={"op": STATS}, workers=pool, on_error="return"
        )
        spent = sum(t.get("busy", 0.0) for t in told.values() if isinstance(t, dict))
    names, now = {a: m.name for a, m in fleet.members.items()}, time.monotonic()
    running = tuple(
        Running(f.case.block, f.stage, names.get(f.worker, f.worker), now - f.since)
        for f in flights
        if f.stage
    )
    return Beat(placement, len(fleet.homes), len(fleet.pool), running, spent)


GATHER_SECONDS = 30.0  # that a worker is given to hand over a record
TIDIED = 1000  # tries between two tidyings of the scheduler


@dataclass(frozen=True)
class At:
    """A worker began a stage of a try, or, with none named, is through with it."""

    name: str
    stage: str
    worker: str


@dataclass(frozen=True)
class Ended:
    """A try ended; without a record where it failed, or where its worker died with it."""

    name: str
    record: Record | None


class Traffic:
    """Tries of blocks that are with Dask, and the news of them.

    Attributes:
        flying: tries by name.
        heard: monotonic seconds of the last news.
    """

    def __init__(self, client: Client, job: Job, submit: Submit) -> None:
        self.client, self.job, self.submit = client, job, submit
        self.flying: dict[str, Flight] = {}
        self.heard = time.monotonic()
        self._load: Counter[str] = Counter()  # tries by home
        self._news: queue.SimpleQueue[At | Ended] = queue.SimpleQueue()
        self._tries = 0

    def listen(self) -> None:
        """From now on, what the workers say of this run is news."""
        self.client.subscribe_topic(self.job.topic, lambda event: self._news.put(_at(event[1])))

    def close(self) -> None:
        """Call off what is flying, and hear no more of it.

        A worker may still speak of a try that was called off, and a scheduler that would pass it on
        to a client that has just gone complains on the user's screen.
        """
        self.cancel(list(self.flying))
        if self.client.status == "running":
            self.client.unsubscribe_topic(self.job.topic)

    def home(self, room: Mapping[str, int]) -> str | None:
        """Pick the worker with the most free slots; None where all are full."""
        left = {address: n - self._load[address] for address, n in room.items()}
        best = max(left, key=left.__getitem__, default=None)
        return best if best is not None and left[best] > 0 else None

    def launch(self, case: Case, home: str, placement: Placement) -> None:
        """Hand a block to Dask."""
        self._tries += 1
        name = f"{case.block:06d}-{self.job.topic[-8:]}-{self._tries}"
        trial = Trial(case.block, case.attempt, name, placement == "calls")
        future = self.submit(self.client, self.job, trial, home, placement)
        self.flying[name] = Flight(case, home, future)
        self._load[home] += 1
        if self._tries % TIDIED == 0:
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
        self._news.put(Ended(name, record))

    def land(self, name: str) -> Flight:
        """Forget a try."""
        flight = self.flying.pop(name)
        self._load[flight.home] -= 1
        flight.future.release()
        return flight

    def cancel(self, names: list[str]) -> list[Flight]:
        """Call tries off, and forget them."""
        if names and self.client.status == "running":
            self.client.cancel([self.flying[name].future for name in names], force=True)
        return [self.land(name) for name in names]

    def news(self, seconds: float) -> Iterator[At | Ended]:
        """All news there is of what is flying; waits for some, so long at most."""
        with suppress(queue.Empty):
            news = self._news.get(timeout=seconds)
            while True:
                self.heard = time.monotonic()
                if news.name in self.flying:
                    yield news
                news = self._news.get_nowait()


def _at(said: Mapping[str, str]) -> At:
    return At(said["trial"], said["stage"], said["worker"])


def forget_submissions(dask_scheduler: Any) -> None:
    """Dask's spans keep a line for every task that was ever submitted: half a kB a block."""
    if (spans := dask_scheduler.extensions.get("spans")) is not None:
        for span in spans.spans.values():
            if span.metadata:
                span.metadata["collections"].clear()
