"""Runs on SLURM for the tests: specs that ask for little, and ways to look at what is going on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddgm.deploy.slurm.client import Queued, queue
from ddgm.deploy.slurm.folder import SlurmFolder
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.runs import spec_data

LITTLE = {"cpus": 1, "memory": "2GiB", "walltime": "00:20:00"}
PATIENCE = 480.0  # seconds: the tests wait for what happens, and never for a time to pass


def cluster(gpu: bool | dict[str, Any] = False, **parts: Any) -> dict[str, Any]:
    """Jobs of one core on loopback: a driver, a worker, and one on the node with a GPU."""
    data: dict[str, Any] = {"kind": "slurm", "interface": "lo", "driver": LITTLE}
    data["cpu"] = {**LITTLE, "count": 1}
    if gpu:
        more = gpu if isinstance(gpu, dict) else {}
        data["gpu"] = {**LITTLE, "partition": "gpu", "count": 1, **more}
    for name, part in parts.items():
        data[name] = {**data.get(name, {}), **part} if isinstance(part, dict) else part
    return data


def slurm_spec(url: str, run: Path, weights: Path, slow: bool = False, **parts: Any) -> Spec:
    """Eight blocks; slow ones take seconds each, so that something can happen in between."""
    method = {"steps": 40 if slow else 3}
    data = spec_data(url, run, weights, method=method)
    return Spec.model_validate({**data, "cluster": cluster(**parts)})


def queued(run: Path, role: str = "") -> list[Queued]:
    """The run's jobs in SLURM's queue, or those of a role."""
    jobs = queue(SlurmFolder(run).job_names())
    return [job for job in jobs if job.name.endswith(role)]


def running(run: Path, role: str) -> list[Queued]:
    """The jobs of a role that run."""
    return [job for job in queued(run, role) if job.state == "RUNNING"]


def done(run: Path) -> list[Record]:
    """The blocks that are done."""
    return [record for record in RunStore(str(run)).ledger.records() if record.state == "done"]


def wait_for(run: Path, what: str, condition: Callable[[], object]) -> None:
    """Wait until something holds; if it does not come to hold, fail with all logs."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if SlurmFolder(run).ended:  # whatever is to come comes soon, or not at all
            deadline = min(deadline, time.monotonic() + 60)
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not in time\n{logs(run)}")
        time.sleep(0.5)


def wait_for_end(run: Path) -> None:
    """Wait until the run says that it has ended and all of its jobs have left the queue."""
    wait_for(run, "the end", lambda: SlurmFolder(run).ended and not queued(run))


def logs(run: Path, role: str = "") -> str:
    """What the jobs of a role have printed, or all of them."""
    paths = sorted(SlurmFolder(run).logs.glob(f"{role}*.log"))
    return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-20000:]}" for path in paths)


def processes(run: Path) -> list[str]:
    """Commands of the processes that have to do with a run, in this session or any other."""
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    folder = str(SlurmFolder(run).path)
    return [line for line in listed.stdout.splitlines() if folder in line]


def ask(*words: str) -> str:
    """The output of one of SLURM's commands."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
