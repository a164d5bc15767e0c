"""The workers of a cluster, as its scheduler knows them now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin

from ddgm.core.process_work import Work, under_way

if TYPE_CHECKING:
    from distributed import Client, Worker

RESOURCE = "GPU"  # that Dask workers of the pool have one of
WORK = "ddgm_work"  # the metric by which they say what they are at
LEAVING = "ddgm-leaving"  # Dask's topic on which workers say that they close
MOST = 16  # pieces of work that a worker names


@dataclass(frozen=True)
class WorkerInfo:
    """One worker process.

    Attributes:
        address: where it listens.
        name: for people.
        threads: tasks at once.
        memory: bytes at which it is restarted; 0: no limit.
        pool: whether it has the resource `GPU`.
        work: that it was at when it last said so.
    """

    address: str
    name: str
    threads: int
    memory: int
    pool: bool
    work: tuple[Work, ...] = ()


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
            work=tuple(_work(w["metrics"].get(WORK, ()))),
        )
        for address, w in identities.items()
        if w["status"] == "running"
    }
    return Workers(running, frozenset(identities))


async def import_beside(module: str, dask_scheduler: Any = None) -> None:
    """Have a scheduler import a module in a thread, for `Client.run_on_scheduler`.

    It unpickles the tasks that it is given, and so imports their code in the middle of its work:
    torch took it 12 to 61 s on a busy machine, and a driver that is not answered for so long takes
    it for gone.
    """
    await asyncio.to_thread(import_module, module)


class WorkPlugin(WorkerPlugin):
    """Has workers say what they are at, in heartbeats that they send anyway, and that they leave.

    Heartbeats are the rarer the more workers there are, and the scheduler passes the latest on
    with a worker's identity: so no message is added, and what fails costs a metric and no more.
    """

    name = "ddgm-work"

    def setup(self, worker: Worker) -> None:
        """Called by Dask on every worker, present and future, restarted ones included."""
        worker.metrics[WORK] = _said

    def teardown(self, worker: Worker) -> None:
        """Called by Dask on a worker that closes: at a signal, at its lifetime, or to be restarted.

        Drivers hear of it before the scheduler takes the worker, and what it is at, for lost.
        """
        worker.log_event(LEAVING, worker.address)


def _said(_: Worker) -> list[list[Any]]:
    now = time.monotonic()
    return [[w.what, w.done, w.total, w.task, now - w.began] for w in islice(under_way(), MOST)]


def _work(said: Any) -> Iterator[Work]:
    """What a worker said, by this process's clock; nothing of one with another version of ddgm."""
    now = time.monotonic()
    with suppress(TypeError, ValueError):
        for what, done, total, task, seconds in said:
            yield Work(str(what), int(done), int(total), str(task), now - float(seconds))
