"""Calls SLURM's commands; errors carry SLURM's own words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddgm.core.errors import DdgmError

PATIENCE = 60.0  # seconds for one command: a controller under load takes its time


class SlurmError(DdgmError):
    """Raised when SLURM refuses a command or does not answer."""


@dataclass(frozen=True)
class Queued:
    """A job in SLURM's queue; each task of an array is one.

    Attributes:
        id: such as 12, or 12_0 for a task of an array.
        name: of the job.
        state: such as PENDING or RUNNING.
        reason: why it is pending.
        node: where it runs.
    """

    id: str
    name: str
    state: str
    reason: str
    node: str


def send(script: Path, *options: str) -> str:
    """Send a script; returns the job's id.

    Raises:
        SlurmError: SLURM does not take it.
    """
    return _ask("sbatch", "--parsable", *options, str(script)).strip().partition(";")[0]


def queue(names: Sequence[str]) -> list[Queued]:
    """Jobs of these names that are pending or running.

    Raises:
        SlurmError: SLURM does not answer.
    """
    if not names:
        return []
    fields = "%i|%j|%T|%r|%N"
    lines = _ask("squeue", "--noheader", "--array", *_ours(names), f"--format={fields}")
    return [Queued(*line.split("|", 4)) for line in lines.splitlines()]


def cancel(name: str) -> None:
    """Cancel all jobs of a name; it is no error if there is none.

    Raises:
        SlurmError: SLURM does not answer.
    """
    _ask("scancel", *_ours([name]))


def release(job: str) -> None:
    """Let a job start that was sent with --hold.

    Raises:
        SlurmError: SLURM does not do it.
    """
    _ask("scontrol", "release", job)


def _ours(names: Sequence[str]) -> list[str]:
    return [f"--user={os.getuid()}", f"--name={','.join(names)}"]


def _ask(*words: str) -> str:
    """Run a command and return its output."""
    # within a job, what SLURM says of that job is not meant for others
    kept = {k: v for k, v in os.environ.items() if k == "SLURM_CONF" or k[:6] != "SLURM_"}
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            errors="replace",
            env=kept,
        )
    except FileNotFoundError:
        raise SlurmError(
            f"slurm: there is no {words[0]} here; run this on a login node of the cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"slurm: {words[0]} did not answer for {PATIENCE:g} s; try again", "cluster"
        ) from None
    if done.returncode:
        said = "; ".join(done.stderr.strip().splitlines()) or f"exit status {done.returncode}"
        raise SlurmError(f"slurm: {said}")
    return done.stdout
