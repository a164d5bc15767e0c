"""Files of a submission in its run's folder, read by its jobs and by commands such as `status`.

RUN/slurm/submission.json     the names of its jobs, written before any is sent
RUN/slurm/jobs                one line for each that was sent: id and role
RUN/slurm/driver.sh, cpu.sh   the job scripts, one for each role
RUN/slurm/spec.yaml           what the driver runs: the spec, with the scheduler file as cluster
RUN/slurm/dask.yaml, tls.pem  Dask's settings, and the key without which nobody speaks to it
RUN/slurm/scheduler.json      while there is a scheduler
RUN/slurm/lost                jobs that ended before their time: id, group, and in what
RUN/slurm/ended               once no worker may start any more, and why
RUN/slurm/logs/ROLE-ID.log    what jobs print
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ddgm.core.errors import DdgmError
from ddgm.pipeline.store.files import Folder


class SubmissionError(DdgmError):
    """A run that cannot be submitted, or was not."""


@dataclass(frozen=True)
class SlurmJob:
    """A job, or an array of jobs, that was sent."""

    id: str
    role: str


@dataclass(frozen=True)
class Lost:
    """A worker's job that ended before its time.

    Attributes:
        id: such as 12_0.
        group: cpu or gpu.
        when: at its `start`, before it joined the scheduler, or at `work`.
    """

    id: str
    group: str
    when: str


@dataclass(frozen=True)
class SlurmFolder:
    """A run's folder, as far as SLURM goes. It must be on a file system that all nodes share."""

    run: Path

    @property
    def path(self) -> Path:
        """Folder of the submission's files."""
        return self.run / "slurm"

    @property
    def logs(self) -> Path:
        """Folder of the jobs' logs."""
        return self.path / "logs"

    @property
    def name(self) -> str:
        """Prefix of the names of this run's jobs, shared by no other run."""
        readable = re.sub(r"[^\w-]+", "-", self.run.name)[:24]
        return f"ddgm-{readable}-{hashlib.sha256(str(self.run).encode()).hexdigest()[:6]}"

    def job_names(self) -> list[str]:
        """Names of the last submission's jobs, the driver's first; empty if there was none.

        Raises:
            SubmissionError: the file with the names is not one that ddgm wrote.
        """
        path = self.path / "submission.json"
        if not path.exists():
            return []
        try:
            return [str(name) for name in json.loads(path.read_text("utf-8"))["names"]]
        except (ValueError, KeyError, TypeError) as error:
            raise SubmissionError(f"{path} is not one that ddgm wrote ({error})") from error

    def jobs(self) -> list[SlurmJob]:
        """Jobs that were sent, in that order."""
        return [SlurmJob(*words) for words in self._lines("jobs", 2)]

    def record(self, job: SlurmJob) -> None:
        """Write down a job that was sent."""
        with (self.path / "jobs").open("a") as file:
            file.write(f"{job.id} {job.role}\n")

    def lost(self) -> list[Lost]:
        """Worker jobs that ended before their time, in that order."""
        return [Lost(*words) for words in self._lines("lost", 3)]

    @property
    def ended(self) -> str:
        """Why no worker may start any more; empty as long as they may."""
        path = self.path / "ended"
        return path.read_text("utf-8").strip() or "ended" if path.exists() else ""

    def end(self, why: str) -> None:
        """Write that no worker may start any more, and why."""
        (self.path / "ended").write_text(f"{why}\n")

    def _lines(self, name: str, fields: int) -> list[list[str]]:
        path = self.path / name
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [words for line in lines if len(words := line.split()) == fields]


def slurm_folder(run: str) -> SlurmFolder:
    """The SLURM folder of a run.

    Raises:
        SubmissionError: the folder is no path.
    """
    local = Folder(run).local_path()
    if local is None:
        raise SubmissionError(
            f"output.path: {run} is no path; with SLURM, write to a disk that all nodes share"
        )
    return SlurmFolder(Path(local))
