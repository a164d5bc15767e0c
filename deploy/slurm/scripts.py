"""The job scripts: what the spec asks for on top, and below it what is the same for all.

A script is #SBATCH lines, the spec's set-up lines, variables, and a body that lies beside this
file: `driver.sh` or `worker.sh`.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from ddgm.deploy.slurm.folder import SlurmFolder
from ddgm.workers.slurm_spec import GpuGroup, Group, JobRequest, Slurm

MARGIN = 300  # seconds before a walltime by which all is over, where the walltime has room for it
HEADROOM = 0.9  # of a job's memory, for its workers; the rest is for what watches over them
LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")  # with threads of their own


@dataclass(frozen=True)
class Scripts:
    """The scripts of a run.

    Attributes:
        slurm: what the spec says.
        folder: of the run.
        blocks: of the run, which bound the jobs of a group with a maximum.
        python: the interpreter that has ddgm, in the container if there is one.
        directory: where the jobs start: relative paths of the spec count from there.
    """

    slurm: Slurm
    folder: SlurmFolder
    blocks: int
    python: str = field(default=sys.executable)
    directory: Path = field(default_factory=Path.cwd)

    def all(self) -> dict[str, str]:
        """Every script, by role; the driver's first."""
        return {"driver": self.driver(), **{name: self.worker(name) for name in self.slurm.groups}}

    def names(self) -> list[str]:
        """Names of the jobs, the driver's first."""
        return [f"{self.folder.name}-{role}" for role in ("driver", *self.slurm.groups)]

    def jobs(self, group: Group) -> int:
        """Number of jobs of a group."""
        return group.jobs(self.blocks, self.slurm.processes(group))

    def driver(self) -> str:
        """Script of the driver; in a single job, of the whole allocation."""
        slurm = self.slurm
        single = next(iter(slurm.groups)) if slurm.single_job else ""
        request = slurm.groups[single] if single else slurm.driver
        size = self._allocation(slurm.groups[single]) if single else _one_task(request)
        wanted = {} if single else {name: self.jobs(g) for name, g in slurm.groups.items()}
        return self._script(
            "driver",
            request,
            [*size, "--requeue"],
            "%j",
            {
                "name": self.folder.name,
                "single": single,
                "wanted": wanted,
                "seconds": request.seconds - margin(request.seconds),
                "options": self._interface(),
            },
        )

    def worker(self, name: str) -> str:
        """Script of a group's jobs."""
        group = self.slurm.groups[name]
        processes = self.slurm.processes(group)
        gpus = [f"--gres=gpu:{group.gpus}"] if isinstance(group, GpuGroup) else []
        resources = ["--resources", "GPU=1"] if gpus else []
        spare = margin(group.seconds)
        lasts = not self.slurm.single_job  # there, all ends when the driver does
        return self._script(
            name,
            group,
            # a preempted or a lost worker is replaced by the driver, sooner than SLURM requeues it
            [*_one_task(group), *gpus, "--no-requeue"],
            "%A_%a",
            {
                "group": name,
                "processes": processes,
                "memory": f"{int(HEADROOM * group.bytes / processes) // 2**20}MiB",
                "lifetime": group.seconds - spare * 3 // 2 if lasts else "",
                "stagger": spare // 2,
                "options": [*self._interface(), *resources],
            },
        )

    def _script(
        self,
        role: str,
        request: JobRequest,
        size: list[str],
        id_: str,
        variables: Mapping[str, object],
    ) -> str:
        log = str(self.folder.logs).replace("%", "%%")
        named = {k: getattr(request, k) for k in ("partition", "account", "qos", "constraint")}
        options = [
            f"--job-name={self.folder.name}-{role}",
            f"--output={log}/{role}-{id_}.log",
            "--open-mode=append",
            f"--chdir={self.directory}",
            *(f"--{key}={value}" for key, value in named.items() if value),
            f"--time={request.walltime}",
            *size,
            *request.sbatch,
        ]
        container = shlex.split(self.slurm.container or "")
        python = [*container, "python3" if container else self.python, "-P"]
        variables = {"folder": str(self.folder.path), "python": python, **variables}
        return "\n".join(
            [
                "#!/bin/bash",
                *(f"#SBATCH {_sbatch_word(o)}" for o in options),
                "",
                *_paragraph("# From the spec", request.setup),
                *(_assignment(name, value) for name, value in variables.items()),
                "",
                "# One kind of threads: the numerical work's, not one of each library's on top",
                f"export {' '.join(f'{n}_NUM_THREADS={self.slurm.threads}' for n in LIBRARIES)}",
                'export DASK_CONFIG="$folder/dask.yaml" PYTHONUNBUFFERED=1',
                "",
                _body("driver" if role == "driver" else "worker"),
            ]
        )

    def _allocation(self, group: Group) -> list[str]:
        """Options for a group's jobs as one; the driver shares the first task's resources."""
        gpus = [f"--gpus-per-task={group.gpus}"] if isinstance(group, GpuGroup) else []
        each = math.ceil(group.bytes / group.cpus / 2**20)
        return [
            f"--ntasks={self.jobs(group)}",
            f"--cpus-per-task={group.cpus}",
            f"--mem-per-cpu={each}M",
            *gpus,
        ]

    def _interface(self) -> list[str]:
        return ["--interface", self.slurm.interface] if self.slurm.interface else []


def margin(walltime: int) -> int:
    """Seconds before the end of a walltime by which all is over: minutes, as SLURM may be early."""
    return min(MARGIN, walltime // 6)


def _one_task(request: JobRequest) -> list[str]:
    return ["--ntasks=1", f"--cpus-per-task={request.cpus}", f"--mem={request.bytes // 2**20}M"]


def _sbatch_word(option: str) -> str:
    """An option as sbatch reads it in a script: in quotes where there are spaces."""
    return f'"{option}"' if " " in option and '"' not in option else option


def _paragraph(title: str, lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    return [title, *lines, ""] if lines else []


def _assignment(name: str, value: object) -> str:
    """A variable of the shell: text, a number, a list or a mapping of numbers."""
    if isinstance(value, dict):
        return f"declare -A {name}=({' '.join(f'[{k}]={v}' for k, v in value.items())})"
    if isinstance(value, list):
        return f"{name}=({shlex.join(value)})"
    return f"{name}={shlex.quote(str(value))}"


def _body(name: str) -> str:
    return files("ddgm.deploy.slurm").joinpath(f"{name}.sh").read_text("utf-8")
