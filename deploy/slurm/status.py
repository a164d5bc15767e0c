"""State of a submitted run in SLURM: pending jobs and why, running jobs, lost jobs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ddgm.deploy.slurm import client
from ddgm.deploy.slurm.client import Queued
from ddgm.deploy.slurm.folder import SlurmFolder, slurm_folder
from ddgm.pipeline.store.files import Folder

SHOWN = 5  # of the jobs that were lost
TAIL = 3  # lines of a log that say enough of a death


def slurm_lines(run: str) -> list[str]:
    """Lines about the jobs of a run, its logs and its lost jobs; none if it was not submitted.

    Raises:
        DdgmError: the run's folder holds a submission that is not ddgm's.
    """
    if Folder(run).local_path() is None or not (names := slurm_folder(run).job_names()):
        return []
    folder = slurm_folder(run)
    try:
        queued: list[Queued] | None = client.queue(names)
    except client.SlurmError as error:  # looked at from elsewhere: the rest is still worth showing
        queued = None
        lines = [f"queue: {error}"]
    else:
        states = {name: _states([job for job in queued if job.name == name]) for name in names}
        lines = [f"{name.rpartition('-')[2]}: {text}" for name, text in states.items()]
    lines.append(f"driver's log: {_driver_log(folder)}")
    lost = folder.lost()
    if len(lost) > SHOWN:
        lines.append(f"{len(lost)} jobs were lost, the last of them:")
    for job in lost[-SHOWN:]:
        what = "never joined the run" if job.when == "start" else "was ended at its work"
        log = folder.logs / f"{job.group}-{job.id}.log"
        lines.append(f"{job.group} job {job.id} {what}; {_end_of(log)}")
    if folder.ended:
        lines.append(f"ended: {folder.ended}")
    elif queued == []:
        lines.append("ended: by SLURM or by hand, before its time; resume it with `ddgm submit`")
    return lines


def in_queue(run: str) -> bool:
    """True if jobs of a run are known to be in the queue."""
    if Folder(run).local_path() is None:
        return False
    try:
        return bool(client.queue(slurm_folder(run).job_names()))
    except client.SlurmError:
        return False


def _states(jobs: list[Queued]) -> str:
    """Such as `2 running on cpu1,cpu2; 1 pending (Resources)`."""
    running = [job for job in jobs if job.state == "RUNNING"]
    parts = []
    if running:
        nodes = ",".join(sorted({job.node for job in running}))
        parts.append(f"{len(running)} running on {nodes}")
    others = Counter(
        f"{job.state.lower()} ({job.reason})" if job.state == "PENDING" else job.state.lower()
        for job in jobs
        if job.state != "RUNNING"
    )
    parts += [f"{count} {what}" for what, count in others.items()]
    return "; ".join(parts) or "nothing in the queue"


def _driver_log(folder: SlurmFolder) -> str:
    """Path of the driver's log, the first place to look."""
    sent = [job for job in folder.jobs() if job.role == "driver"]
    log = folder.logs / f"driver-{sent[-1].id}.log" if sent else None
    return "none yet" if log is None or not log.exists() else str(log)


def _end_of(log: Path) -> str:
    """A log's path and its last lines."""
    if not log.exists():
        return f"there is no {log}: SLURM could not start it, or it was cancelled"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{log} ends: {' | '.join(lines[-TAIL:]) or 'with nothing'}"
