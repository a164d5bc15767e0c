"""A block on its way through the cluster: what is known of it, and of its tries."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.events import Beat, Running
from pipeline.faults import DeadlyError
from workers.fleet import Fleet
from workers.pool import TALLY

if TYPE_CHECKING:
    from distributed import Client, Future

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
    """What is said of a block that workers die at."""
    return DeadlyError(
        f"{DEATHS} workers died at it, the last at stage {flight.stage or 'unknown'}; look for "
        "memory (`ddgm plan` says what a block needs) and for crashes in their logs"
    )


def beat_of(client: Client, fleet: Fleet, placement: str, flights: Collection[Flight]) -> Beat:
    """How things stand, for those who watch."""
    spent = 0.0
    if placement == "calls":
        scheduler: Any = client.scheduler
        pool = [m.address for m in fleet.pool]
        told: Any = client.sync(
            scheduler.broadcast, msg={"op": TALLY}, workers=pool, on_error="return"
        )
        spent = sum(t.get("busy", 0.0) for t in told.values() if isinstance(t, dict))
    names, now = {a: m.name for a, m in fleet.members.items()}, time.monotonic()
    running = tuple(
        Running(f.case.block, f.stage, names.get(f.worker, f.worker), now - f.since)
        for f in flights
        if f.stage
    )
    return Beat(placement, len(fleet.homes), len(fleet.pool), running, spent)
