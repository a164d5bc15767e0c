"""Processes that tests start, and the wait for what they do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 180  # seconds, on however slow a machine


def ddgm(log: Path, *words: object, start_new_session: bool = False) -> subprocess.Popen[bytes]:
    """`ddgm` with these words in a process of its own, which writes what it says to `log`."""
    command = [sys.executable, "-m", "ddgm.pipeline.cli", *map(str, words)]
    with log.open("wb") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=start_new_session
        )


def dask(*words: str) -> subprocess.Popen[bytes]:
    """One of Dask's own programs."""
    command = [sys.executable, "-m", "dask", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(
    condition: Callable[[], T],
    process: subprocess.Popen[Any] | None = None,
    log: Path | None = None,
) -> T:
    """What a condition returns once it holds.

    Raises:
        AssertionError: it does not come to hold, or the process ends before it does.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        said = log.read_text() if log else ""
        if process is not None and process.poll() is not None:
            raise AssertionError(said or process.communicate())
        assert time.monotonic() < deadline, said
        time.sleep(0.02)
    return found
