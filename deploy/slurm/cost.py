"""Cost of a submission: core-hours, GPU-hours and time."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal

from ddgm.deploy.slurm.scripts import HEADROOM, Scripts
from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.progress_bar import ProgressBar
from ddgm.pipeline.spec.memory import SHARE, fits, worker_memory
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.terminal import Row, duration, plural
from ddgm.workers.slurm_spec import GpuGroup, Group, JobRequest


def cost_rows(spec: Spec, scripts: Scripts, console: Console) -> list[Row]:
    """Jobs and resources, and the time that the run takes as `ddgm plan` predicts it.

    Raises:
        DdgmError: the spec does not fit its volume, or the prior is not there.
    """
    slurm = scripts.slurm
    rows: list[Row] = []
    if not slurm.single_job:
        rows.append(_asked_row("driver", slurm.driver, 1))
    for name, group in slurm.groups.items():
        rows.append(_asked_row(name, group, scripts.jobs(group)))
    plan = make_plan(spec)
    needed = worker_memory(plan).total
    for name, group in slurm.groups.items():
        has = HEADROOM * group.bytes / slurm.processes(group)
        enough = "enough" if fits(plan, int(has)) else f"too little: raise cluster.{name}.memory"
        room = f"{decimal(int(has))}, of which {SHARE:.0%} are used"
        facts = {f"{name}_worker_bytes": int(has), "needed_bytes": needed}
        text = f"{decimal(needed)} of {room}: {enough}"
        rows.append(Row(f"memory of a {name} worker", text, facts))
    with ProgressBar(console, "timing"):
        seconds = time_calls(plan).slice * plan.slice_count
    workers = sum(scripts.jobs(g) * slurm.processes(g) for g in slurm.groups.values())
    each = seconds / workers
    time = (
        f"{duration(each)} with all {workers} workers, each as quick as this machine; "
        "fetching, writing and the queue come on top"
    )
    facts = {"workers": workers, "run_seconds": each}
    rows.append(Row("time, as on this machine", time, facts))
    rows.append(_used_row(scripts, each / 3600))
    return rows


def _asked_row(role: str, request: JobRequest, jobs: int) -> Row:
    """Resources that a group's jobs hold until their walltime."""
    hours = request.seconds / 3600
    gpus = request.gpus if isinstance(request, GpuGroup) else 0
    each = plural(request.cpus, "core") + (f", {plural(gpus, 'GPU')}" if gpus else "")
    total = f"{jobs * request.cpus * hours:.1f} core-hours"
    if gpus:
        total += f", {jobs * gpus * hours:.1f} GPU-hours"
    text = f"{plural(jobs, 'job')} of {each}, {request.memory}, {request.walltime}: {total} by then"
    job = {"cpus": request.cpus, "gpus": gpus, "memory_bytes": request.bytes}
    return Row(role, text, {role: {"jobs": jobs, **job, "walltime_seconds": request.seconds}})


def _used_row(scripts: Scripts, hours: float) -> Row:
    """Core-hours and GPU-hours of all jobs that run for so long."""
    slurm = scripts.slurm
    groups: list[Group] = list(slurm.groups.values())
    cores = sum(scripts.jobs(g) * g.cpus for g in groups)
    cores += 0 if slurm.single_job else slurm.driver.cpus
    gpus = sum(scripts.jobs(g) * g.gpus for g in groups if isinstance(g, GpuGroup))
    text = f"{cores * hours:.2f} core-hours, {gpus * hours:.2f} GPU-hours"
    facts = {"core_hours": cores * hours, "gpu_hours": gpus * hours}
    return Row("for that time", text, facts)
