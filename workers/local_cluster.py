"""A cluster of this machine's, for one run: it is up within a bounded time, or says why not."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, cast

import torch
from distributed import Nanny, Status, WorkerPlugin

from ddgm.core.errors import DdgmError
from ddgm.workers.members import RESOURCE
from ddgm.workers.scratch import scratch_folder
from ddgm.workers.settings import pristine, settings
from ddgm.workers.specs import Local, PoolSpec

if TYPE_CHECKING:
    from distributed import Client, Security, SpecCluster
    from tornado.ioloop import IOLoop

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
START_SECONDS = 180.0  # that all of a cluster is given to start; many workers read many files
# nobody looks at a local cluster by HTTP: who is on the machine could, and TLS does not reach there
NO_PAGES = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
# workers are forked from one process that has imported everything, in place of importing it each
FORKED = {"distributed.worker.multiprocessing-method": "forkserver"}
IMPORTED = "distributed", "torch", "cloudvolume"  # there, beside all of ddgm that is imported here


class ClusterError(DdgmError):
    """A cluster that cannot be started or reached."""

    failure = "cluster"


@contextmanager
def local_cluster(cluster: Local, pool: PoolSpec, security: Security | None) -> Iterator[Client]:
    """Start workers on loopback, and pool workers: one for each GPU, or as many as the spec says.

    Others on the machine reach the ports: whoever has no part in `security` gets nowhere. Nothing
    is taken from the site's configuration of Dask, which can be anything.

    Raises:
        ClusterError: it could not be started, or not in time.
    """
    from dask import config
    from distributed import Client

    with (
        config.set(pristine()),
        config.set({**settings(), **NO_PAGES, **FORKED}),
        scratch_folder() as folder,
        config.set({"temporary-directory": folder}),
        _started(cluster, pool, security) as local,
        Client(local, security=security) as client,
    ):
        yield client


@contextmanager
def _started(cluster: Local, pool: PoolSpec, security: Security | None) -> Iterator[SpecCluster]:
    from distributed import Scheduler, SpecCluster
    from distributed.utils import get_mp_context

    ours = [name for name in sys.modules if name.startswith("ddgm.")]
    get_mp_context().set_forkserver_preload([*IMPORTED, *ours])
    quiet: Any = logging.INFO if log.isEnabledFor(logging.INFO) else logging.CRITICAL
    scheduler = {
        "host": LOOPBACK,
        "port": 0,
        "dashboard": False,
        "dashboard_address": f"{LOOPBACK}:0",
        "security": security,
    }
    shared = {
        "nthreads": 1,  # cloud-volume: one reading thread per process
        "memory_limit": cluster.memory,
        "host": LOOPBACK,
        "silence_logs": quiet,
        "security": security,
    }
    workers = {
        name: {"cls": NamedNanny, "options": {"name": name, **shared, **own}}
        for name, own in _options(cluster, pool).items()
    }
    with _event_loop() as loop:
        try:
            local: Any = SpecCluster(
                scheduler={"cls": Scheduler, "options": scheduler},
                loop=loop,
                security=security,
                silence_logs=quiet,
                shutdown_on_close=False,  # at the interpreter's end: we do so before
            )
        except Exception as error:  # Dask names no class
            raise ClusterError(f"cluster: it could not be started ({_cause(error)})") from error
        with local:
            try:
                local.worker_spec.update(workers)
                local.sync(local._correct_state)  # as `scale` does, and it waits
            except BaseException as error:  # Ctrl-C, too
                local.sync(_end_starting, local._created)
                if isinstance(error.__cause__, ClusterError):
                    raise error.__cause__ from None
                raise
            yield local


@contextmanager
def _event_loop() -> Iterator[IOLoop]:
    """Dask's loop in a thread whose processes never see Ctrl-C: a terminal sends it to all.

    A blocked signal is inherited by threads and processes. The driver ends the workers.
    """
    from distributed.utils import LoopRunner

    resource_tracker.ensure_running()  # it would unblock the signal in the thread that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner = LoopRunner()
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield cast("IOLoop", runner.loop)
    finally:
        runner.stop()


async def _end_starting(nannies: Iterable[NamedNanny]) -> None:
    """End the workers that have not started: Dask waits for these before it closes."""
    await asyncio.gather(*(nanny.end() for nanny in nannies if nanny.status == Status.init))


def _options(cluster: Local, pool: PoolSpec) -> dict[str, dict[str, Any]]:
    """What is each worker's own, by name."""
    devices = gpus()
    count = len(devices) if pool.workers is None else pool.workers

    def env(visible: str | None) -> dict[str, str]:
        """This process's environment as it is now: they are forked from an older process."""
        return {**os.environ} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})

    blind = {"env": env("" if count else None)}
    workers: dict[str, dict[str, Any]] = {f"cpu-{i}": blind for i in range(cluster.workers)}
    for i in range(count):
        device = devices[i % len(devices)] if devices else None
        workers[f"pool-{i}"] = {"env": env(device), "resources": {RESOURCE: 1}}
    return workers


class NamedNanny(Nanny):
    """A nanny that says which worker did not start."""

    async def start_unsafe(self) -> Any:
        """Start the worker's process, and wait until it has joined the scheduler."""
        try:
            return await asyncio.wait_for(super().start_unsafe(), START_SECONDS)
        except TimeoutError as error:
            why, cause = f"has not started within {START_SECONDS:g} s", error
        except Exception as error:
            why, cause = f"did not start ({_cause(error)})", error
        await self.end()
        raise ClusterError(
            f"cluster: worker {self.name} {why}; run the same spec again, with fewer workers if "
            "the machine is busy, or with -v to see the workers' logs"
        ) from cause

    async def end(self) -> None:
        """Kill the process first: Dask's own closing does not end one that has not started."""
        if self.process is not None and self.process.process is not None:
            process = self.process.process
            with suppress(ValueError):  # Dask closes it as soon as it has ended
                await process.kill()
                await process.join()
        await self.close()


def register(client: Client, plugin: WorkerPlugin) -> None:
    """Give a plugin to all workers, those among them that join later.

    A worker that dies meanwhile is no loss: it gets the plugin once it is back.

    Raises:
        ClusterError: a worker does not answer.
    """

    async def send() -> None:
        await client.register_plugin(plugin)  # type: ignore[misc]

    for tries_left in (2, 1, 0):
        try:
            client.sync(send, callback_timeout=START_SECONDS)
            return
        except TimeoutError as error:
            raise ClusterError(
                f"cluster: worker {_quietest(client)} does not answer; look at it, and run the "
                "same spec again"
            ) from error
        except OSError as error:  # Dask's of a connection that has closed are among these
            if not tries_left:
                raise ClusterError(
                    f"cluster: workers die as they start ({_cause(error)}); run the same spec again"
                ) from error


def _quietest(client: Client) -> str:
    """The name of the worker that was heard of last."""
    workers: Any = client.scheduler_info(n_workers=-1)["workers"]
    last = min(workers.values(), key=lambda w: w["last_seen"], default={"name": "(none)"})
    return str(last["name"])


def _cause(error: BaseException) -> str:
    """The innermost reason, as one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def gpus() -> list[str]:
    """The machine's GPUs, as CUDA_VISIBLE_DEVICES names them."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return shown.split(",")[:count] if shown else [str(i) for i in range(count)]
