"""Cost of a submission: core-hours, GPU-hours and time."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from ddgm.deploy.slurm.scripts import HEADROOM, Scripts
from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.terminal import Row, duration, table
from ddgm.workers.slurm_spec import GpuGroup, Group, JobRequest


def cost_table(spec: Spec, scripts: Scripts, console: Console) -> Table:
    """Table of jobs and resources, and the time that the run takes as `ddgm plan` predicts it.

    Raises:
        DdgmError: the spec does not fit its volume, or the prior is not there.
    """
    slurm = scripts.slurm
    rows: list[Row] = []
    if not slurm.single_job:
        rows.append(("driver", _asked(slurm.driver, 1)))
    for name, group in slurm.groups.items():
        rows.append((name, _asked(group, scripts.jobs(group))))
    plan = make_plan(spec)
    needed = worker_memory(plan).total
    for name, group in slurm.groups.items():
        has = HEADROOM * group.bytes / slurm.processes(group)
        enough = "enough" if has >= needed else f"too little: raise cluster.{name}.memory"
        memory = f"{decimal(int(has))} of {decimal(needed)} needed: {enough}"
        rows.append((f"memory of a {name} worker", memory))
    with console.status("timing a network call and a data step"):
        seconds = time_calls(plan).slice * plan.slice_count
    workers = sum(scripts.jobs(g) * slurm.processes(g) for g in slurm.groups.values())
    hours = seconds / workers / 3600
    time = (
        f"{duration(seconds / workers)} with all {workers} workers, each as quick as this machine; "
        "fetching, writing and the queue come on top"
    )
    rows += [("time, as on this machine", time), ("for that time", _used(scripts, hours))]
    return table("cost", rows)


def _asked(request: JobRequest, jobs: int) -> str:
    """Resources that a group's jobs hold until their walltime."""
    hours = request.seconds / 3600
    gpus = request.gpus if isinstance(request, GpuGroup) else 0
    each = f"{request.cpus} cores" + (f", {gpus} GPUs" if gpus else "")
    total = f"{jobs * request.cpus * hours:.1f} core-hours"
    if gpus:
        total += f", {jobs * gpus * hours:.1f} GPU-hours"
    return f"{jobs} jobs of {each}, {request.memory}, {request.walltime}: {total} by then"


def _used(scripts: Scripts, hours: float) -> str:
    """Core-hours and GPU-hours of all jobs that run for so long."""
    slurm = scripts.slurm
    groups: list[Group] = list(slurm.groups.values())
    cores = sum(scripts.jobs(g) * g.cpus for g in groups)
    cores += 0 if slurm.single_job else slurm.driver.cpus
    gpus = sum(scripts.jobs(g) * g.gpus for g in groups if isinstance(g, GpuGroup))
    return f"{cores * hours:.2f} core-hours, {gpus * hours:.2f} GPU-hours"
