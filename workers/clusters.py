"""Where the tasks run: one `connect` for a local cluster, an address or a scheduler file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ddgm_core.errors import DdgmError
from workers.slurm import Slurm

if TYPE_CHECKING:
    from distributed import Client


log = logging.getLogger(__name__)


class ClusterError(DdgmError):
    """A cluster that cannot be started or reached."""


class _Cluster(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int = Field(default=1, ge=1, description="threads of a task's numerical work")


class Local(_Cluster):
    """Worker processes on this machine, for this run."""

    kind: Literal["local"] = "local"
    workers: int = Field(
        default=2, ge=1, description="worker processes; each holds one block at a time"
    )
    memory: str = Field(default="8GiB", description="limit per worker, at which it is restarted")

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str) -> str:
        from dask.utils import parse_bytes

        try:
            parse_bytes(value)
        except ValueError:
            raise ValueError("must be a size, such as 8GiB") from None
        return value


class Address(_Cluster):
    """A Dask scheduler that is already running."""

    kind: Literal["address"]
    address: str = Field(description="of the scheduler, such as tcp://127.0.0.1:8786")


class SchedulerFile(_Cluster):
    """A Dask scheduler that is already running and wrote a scheduler file."""

    kind: Literal["scheduler_file"]
    path: Path = Field(description="written by `dask scheduler --scheduler-file`")


Cluster = Annotated[Local | Address | SchedulerFile | Slurm, Field(discriminator="kind")]

SETTINGS = {
    # every task that a dying worker holds gets a strike, also the innocent ones
    "distributed.scheduler.allowed-failures": 10,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.admin.tick.limit": "30s",  # long numerical calls are what we do
    # Dask has malloc give memory back at every turn, and the network ask for it again: 1.7 times
    # slower (measured, see docs/decisions.md)
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**32,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**32,
}


@contextmanager
def connect(cluster: Local | Address | SchedulerFile | Slurm) -> Iterator[Client]:
    """A client of the cluster that a spec names; a local cluster ends with the context.

    Raises:
        ClusterError: no scheduler answers, or a local cluster could not be started.
    """
    from dask import config
    from distributed import Client

    if isinstance(cluster, Slurm):
        raise ClusterError(
            "cluster.kind: slurm has no cluster before its jobs start; send them with `ddgm "
            "submit`, or choose local"
        )
    with config.set(SETTINGS):
        if isinstance(cluster, Local):
            with _local(cluster) as client:
                yield client
            return
        where: dict[str, str] = (
            {"address": cluster.address}
            if isinstance(cluster, Address)
            else {"scheduler_file": str(_existing(cluster.path))}
        )
        try:
            client = Client(**where, timeout="10s")  # type: ignore[arg-type]
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
def _local(cluster: Local) -> Iterator[Client]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=cluster.workers,
            threads_per_worker=1,  # cloud-volume: one reading thread per process
            processes=True,
            memory_limit=cluster.memory,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.INFO if log.isEnabledFor(logging.INFO) else logging.CRITICAL,
        ) as local,
        Client(local) as client,
    ):
        yield client


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ClusterError(
            f"cluster.path: there is no scheduler file {path}; "
            "start one with `dask scheduler --scheduler-file`"
        )
    return path
