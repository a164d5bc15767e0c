"""Connect to the cluster that a spec names: a local one, an address or a scheduler file."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from distributed import WorkerPlugin

from ddgm.core.errors import DdgmError
from ddgm.workers.members import RESOURCE
from ddgm.workers.security import security_of
from ddgm.workers.settings import settings
from ddgm.workers.slurm_spec import Slurm
from ddgm.workers.specs import Address, Local, PoolSpec, SchedulerFile

if TYPE_CHECKING:
    from distributed import Client, Worker

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
ANSWER = "10s"  # that a scheduler is given to answer
# nobody looks at a local cluster by HTTP: who is on the machine could, and TLS does not reach there
NO_PAGES = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


class ClusterError(DdgmError):
    """A cluster that cannot be started or reached."""


@contextmanager
def connect(
    cluster: Local | Address | SchedulerFile | Slurm, pool: PoolSpec | None = None
) -> Iterator[Client]:
    """Open a client of the cluster that a spec names; a local cluster ends with the context.

    Raises:
        ClusterError: no scheduler answers, or a local cluster could not be started.
        SecurityError: TLS files that cannot be used.
    """
    from dask import config

    from ddgm.workers.pool_worker import PoolPlugin

    if isinstance(cluster, Slurm):
        raise ClusterError(
            "cluster.kind: slurm has no cluster before its jobs start; send them with `ddgm "
            "submit`, or choose local"
        )
    with config.set(settings()):
        opened = (
            _local(cluster, pool or PoolSpec()) if isinstance(cluster, Local) else _remote(cluster)
        )
        with opened as client:
            client.register_plugin(PoolPlugin())
            yield client


@contextmanager
def _remote(cluster: Address | SchedulerFile) -> Iterator[Client]:
    from distributed import Client

    where: dict[str, str] = (
        {"address": cluster.address}
        if isinstance(cluster, Address)
        else {"scheduler_file": str(_existing(cluster.path))}
    )
    security = security_of(cluster.security)
    try:
        client = Client(**where, timeout=ANSWER, security=security)  # type: ignore[arg-type]
    except TypeError as error:  # Dask's answer where TLS is asked for and no files are given
        raise ClusterError(
            f"cluster: the scheduler at {next(iter(where.values()))} speaks TLS; name its files in "
            "cluster.security"
        ) from error
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"cluster: no scheduler answers at {next(iter(where.values()))} "
            f"({type(error).__name__}); start one with `dask scheduler`, or correct the spec"
        ) from error
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _local(cluster: Local, pool: PoolSpec) -> Iterator[Client]:
    """Start workers on loopback, and pool workers: one for each GPU, or as many as the spec says.

    Others on the machine reach the ports: a key of this run is asked for on each.
    """
    from dask import config
    from distributed import Client, Nanny, Scheduler, SpecCluster

    devices = gpus()
    count = len(devices) if pool.workers is None else pool.workers
    security = security_of(cluster.security or "temporary")
    shared: dict[str, Any] = {
        "nthreads": 1,  # cloud-volume: one reading thread per process
        "memory_limit": cluster.memory,
        "host": LOOPBACK,
        "silence_logs": logging.INFO if log.isEnabledFor(logging.INFO) else logging.CRITICAL,
        "security": security,
    }
    blind = {"env": {"CUDA_VISIBLE_DEVICES": ""}} if count else {}
    workers = {f"cpu-{i}": shared | blind for i in range(cluster.workers)}
    for i in range(count):
        device = {"env": {"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]}} if devices else {}
        workers[f"pool-{i}"] = shared | device | {"resources": {RESOURCE: 1}}
    scheduler = {
        "host": LOOPBACK,
        "port": 0,
        "dashboard": False,
        "dashboard_address": f"{LOOPBACK}:0",
        "security": security,
    }
    with (
        _scratch() as folder,
        config.set({"temporary-directory": folder, **NO_PAGES}),
        SpecCluster(
            workers={n: {"cls": Nanny, "options": {"name": n, **o}} for n, o in workers.items()},
            scheduler={"cls": Scheduler, "options": scheduler},
            security=security,
            silence_logs=shared["silence_logs"],
        ) as local,
        Client(local, security=security) as client,
    ):
        client.register_plugin(IgnoreInterrupt())
        yield client


@contextmanager
def _scratch() -> Iterator[str]:
    """A private folder for scratch: Dask's processes import what lies in theirs.

    Dask's own has a name that is known beforehand, and belongs to whoever makes it first.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="ddgm-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ClusterError(
            f"cluster: no folder for scratch can be made ({error}); set TMPDIR to one on a disk "
            "with room"
        ) from error
    with folder as path:
        yield path


def gpus() -> list[str]:
    """The machine's GPUs, as CUDA_VISIBLE_DEVICES names them."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return shown.split(",")[:count] if shown else [str(i) for i in range(count)]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ClusterError(
            f"cluster.path: there is no scheduler file {path}; "
            "start one with `dask scheduler --scheduler-file`"
        )
    return path


class IgnoreInterrupt(WorkerPlugin):
    """Makes workers ignore Ctrl-C, which reaches every process of a terminal; the run ends them."""

    name = "ddgm-ignore-interrupt"

    def setup(self, worker: Worker) -> None:
        """Called by Dask, in the worker's main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
