"""The workers of a cluster, as its scheduler knows them now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

RESOURCE = "GPU"  # that Dask workers of the pool have one of


@dataclass(frozen=True)
class WorkerInfo:
    """One worker process.

    Attributes:
        address: where it listens.
        name: for people.
        threads: tasks at once.
        memory: bytes at which it is restarted; 0: no limit.
        pool: whether it has the resource `GPU`.
    """

    address: str
    name: str
    threads: int
    memory: int
    pool: bool


@dataclass(frozen=True)
class Workers:
    """Workers by address.

    Attributes:
        running: those that take on tasks.
        all_addresses: of these, and those that are starting, paused or on their way out.
    """

    running: dict[str, WorkerInfo]
    all_addresses: frozenset[str]

    @property
    def pool(self) -> list[WorkerInfo]:
        """Those that run networks."""
        return [m for m in self.running.values() if m.pool]

    @property
    def block_workers(self) -> list[WorkerInfo]:
        """Those that fetch, score and write: all of the pool, too, where there are no others."""
        return [m for m in self.running.values() if not m.pool] or self.pool


def current_workers(client: Client) -> Workers:
    """The workers as they are now.

    Raises:
        OSError: the scheduler does not answer.
    """
    # not Client.scheduler_info: another thread may put an answer without workers in its place
    scheduler: Any = client.scheduler
    if scheduler is None:
        raise ConnectionError("the scheduler is gone")
    found: Any = client.sync(scheduler.identity, n_workers=-1)
    return workers_from(found["workers"])


def workers_from(identities: Mapping[str, dict[str, Any]]) -> Workers:
    """The workers that a scheduler's identity lists, by address."""
    running = {
        address: WorkerInfo(
            address=address,
            name=str(w["name"]),
            threads=w["nthreads"],
            memory=w["memory_limit"] or 0,
            pool=bool(w["resources"].get(RESOURCE)),
        )
        for address, w in identities.items()
        if w["status"] == "running"
    }
    return Workers(running, frozenset(identities))
