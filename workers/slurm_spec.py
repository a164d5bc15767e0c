"""SLURM in a spec: resources of the driver and of each group of workers.

It lies in `workers` because `Spec.cluster` can be a SLURM cluster; `deploy.slurm` does the rest."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ddgm.workers.strict_model import StrictModel

NAME = r"^[\w.,:+&|!*@()\[\]=/-]+$"  # what SLURM's own names are made of: no spaces, no quotes
WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):(\d\d):(\d\d)")

Name = Annotated[str, Field(pattern=NAME)]


class Maximum(StrictModel):
    """An upper limit on jobs; there are never more than there are blocks for."""

    maximum: int = Field(ge=1, le=100_000)


class JobRequest(StrictModel):
    """Resources that a job asks SLURM for; what is left out is the cluster's own default."""

    partition: Name | None = None
    account: Name | None = None
    qos: Name | None = None
    constraint: Name | None = Field(default=None, description="features that a node must have")
    cpus: int = Field(default=2, ge=1, le=100_000, description="of each job")
    memory: str = Field(default="8GiB", description="of each job")
    walltime: str = Field(
        default="04:00:00", description="of each job: [days-]hours:minutes:seconds"
    )
    setup: tuple[str, ...] = Field(
        default=(), description="lines of shell before all else, such as `module load cuda`"
    )
    sbatch: tuple[str, ...] = Field(
        default=(), description="more options of sbatch, such as --exclude=node7; they win"
    )

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str) -> str:
        return checked_size(value)

    @field_validator("walltime")
    @classmethod
    def _walltime_is_a_time(cls, value: str) -> str:
        if WALLTIME.fullmatch(value) is None or parsed_walltime(value) < 60:
            raise ValueError("must be [days-]hours:minutes:seconds, a minute at least: 04:00:00")
        return value

    @field_validator("sbatch")
    @classmethod
    def _sbatch_are_options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [v for v in value if re.fullmatch(r"--?\w[^\n]*", v) is None]:
            raise ValueError(f"{wrong[0]!r} must be an option of sbatch's, such as --exclude=node7")
        return value

    @property
    def seconds(self) -> int:
        """Walltime in seconds."""
        return parsed_walltime(self.walltime)

    @property
    def bytes(self) -> int:
        """Memory in bytes."""
        return parsed_bytes(self.memory)


class DriverJob(JobRequest):
    """The job of the scheduler and of `ddgm run`: little work, for as long as the run takes."""

    walltime: str = Field(default="24:00:00", description="after which it is queued again")


class Group(JobRequest):
    """Jobs of equal workers."""

    count: Annotated[int, Field(ge=1, le=100_000)] | Maximum = Field(
        default=2, description="jobs, or {maximum: 20} of them"
    )

    def jobs(self, blocks: int, processes: int) -> int:
        """Number of jobs for a number of blocks, with `processes` workers in each job."""
        if isinstance(self.count, int):
            return self.count
        return max(1, min(self.count.maximum, -(-blocks // processes)))


class CpuGroup(Group):
    """Workers without a GPU: as many in a job as `cpus` has room for `threads` of each."""


class GpuGroup(Group):
    """Workers with a GPU: one for each."""

    count: Annotated[int, Field(ge=1, le=100_000)] | Maximum = Field(
        default=1, description="jobs, or {maximum: 20} of them"
    )
    cpus: int = Field(default=4, ge=1, le=100_000, description="of each job")
    memory: str = Field(default="32GiB", description="of each job")
    gpus: int = Field(
        default=1, ge=1, le=1024, description="of each job; each has a worker of its own"
    )


class Slurm(StrictModel):
    """Batch jobs, which `ddgm submit` sends from a login node."""

    kind: Literal["slurm"]
    threads: int = Field(default=1, ge=1, le=1024, description="threads of a task's numerical work")
    interface: Name | None = Field(
        default=None, description="network that the jobs speak over, such as ib0; default: Dask's"
    )
    container: str | None = Field(
        default=None,
        description="words before ddgm's own, such as `apptainer exec --nv /shared/ddgm.sif`",
        pattern=r"^[^\n]+$",
    )
    single_job: bool = Field(
        default=False, description="one job with all the workers of the one group that there is"
    )
    driver: DriverJob = DriverJob()
    cpu: CpuGroup | None = Field(default=None, description="workers without a GPU")
    gpu: GpuGroup | None = Field(default=None, description="workers with a GPU")

    @model_validator(mode="after")
    def _there_are_workers(self) -> Slurm:
        if not self.groups:
            raise ValueError("cpu: give this group, or gpu, or both: `cpu: {}` has its defaults")
        if self.single_job and len(self.groups) > 1:
            raise ValueError("single_job: takes one group of workers; leave out cpu or gpu")
        if self.single_job and self.driver != DriverJob():
            raise ValueError("driver: a single job asks for what its group asks; leave driver out")
        if self.cpu and self.cpu.cpus < self.threads:
            raise ValueError(f"cpu.cpus: {self.cpu.cpus} is less than threads, {self.threads}")
        return self

    @property
    def groups(self) -> dict[str, Group]:
        """The groups of workers that the spec asks for, by name."""
        named: dict[str, Group | None] = {"cpu": self.cpu, "gpu": self.gpu}
        return {name: group for name, group in named.items() if group}

    def processes(self, group: Group) -> int:
        """Workers in each job of a group."""
        return group.gpus if isinstance(group, GpuGroup) else group.cpus // self.threads


def parsed_walltime(text: str) -> int:
    """Seconds of a walltime written as [days-]hours:minutes:seconds; 0 if it is not one."""
    found = WALLTIME.fullmatch(text)
    if found is None:
        return 0
    days, hours, minutes, seconds = (int(n or 0) for n in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def checked_size(text: str) -> str:
    """The text of a size that a process can have.

    Raises:
        ValueError: it is no size, or is below 100 MiB or above 1 PiB.
    """
    if not 100 * 2**20 <= parsed_bytes(text) <= 2**50:
        raise ValueError("must be a size from 100MiB up, such as 8GiB")
    return text


def parsed_bytes(text: str) -> int:
    """Bytes of a size such as 16GiB; 0 if it is not one."""
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except (ValueError, OverflowError):
        return 0
