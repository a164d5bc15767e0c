"""Clusters that a spec can name, local, running already or on SLURM, the pool, and prices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ddgm.workers.security import Tls
from ddgm.workers.slurm_spec import Slurm, checked_size
from ddgm.workers.strict_model import StrictModel
from ddgm.workers.urls import Url

HOUR = 3600
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Cluster(StrictModel):
    threads: int = Field(default=1, ge=1, le=1024, description="threads of a task's numerical work")


class Local(_Cluster):
    """Worker processes on this machine, for this run."""

    kind: Literal["local"] = "local"
    workers: int = Field(
        default=2, ge=1, le=10_000, description="worker processes; each holds one block at a time"
    )
    security: Literal["temporary"] | Tls | None = Field(
        default=None, description="TLS files; default: temporary, a key of this run alone"
    )
    memory: str = Field(default="8GiB", description="limit per worker, at which it is restarted")

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str) -> str:
        return checked_size(value)


class Address(_Cluster):
    """A Dask scheduler that is already running."""

    kind: Literal["address"]
    address: Url = Field(description="of the scheduler, such as tcp://127.0.0.1:8786")
    security: Tls | None = Field(default=None, description="TLS files")


class SchedulerFile(_Cluster):
    """A Dask scheduler that is already running and wrote a scheduler file."""

    kind: Literal["scheduler_file"]
    path: Path = Field(description="written by `dask scheduler --scheduler-file`")
    security: Tls | None = Field(default=None, description="TLS files")


Cluster = Annotated[Local | Address | SchedulerFile | Slurm, Field(discriminator="kind")]
Placement = Literal["whole", "calls"]


class PoolSpec(StrictModel):
    """The workers that run the network, where a cluster has such."""

    placement: Placement | None = Field(
        default=None,
        description="whole: pool workers run a block's whole method; calls: only the network's "
        "calls; default: whole where there are pool workers, else each worker does all of a block",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="pool processes of a local cluster; default: one for each GPU of the machine",
    )
    call_seconds: float = Field(
        default=60.0,
        gt=0,
        le=1e7,
        description="time limit of a network call, then another worker is asked",
    )


class Prices(StrictModel):
    """Prices, in any currency; what has none costs nothing."""

    core_hour: Price = Field(default=0.0, description="of a CPU core at work on a block")
    gpu_hour: Price = Field(default=0.0, description="of a GPU at work on a block")
    gb_read: Price = Field(default=0.0, description="of a gigabyte of the source")
    gb_written: Price = Field(default=0.0, description="of a gigabyte of the output's layers")
    thousand_requests: Price = Field(default=0.0, description="of a thousand reads of the source")

    def of(self, used: Mapping[str, float]) -> dict[str, float]:
        """The price of what a run used, by the names of the prices.

        Args:
            used: core and GPU seconds (`core`, `gpu`), bytes (`read`, `written`), `requests`.
        """
        return {
            "core_hour": self.core_hour * used.get("core", 0.0) / HOUR,
            "gpu_hour": self.gpu_hour * used.get("gpu", 0.0) / HOUR,
            "gb_read": self.gb_read * used.get("read", 0.0) / 1e9,
            "gb_written": self.gb_written * used.get("written", 0.0) / 1e9,
            "thousand_requests": self.thousand_requests * used.get("requests", 0.0) / 1e3,
        }
