"""One driver at a time: RUN/driver.json says who drives a run, and beats while it lives."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ddgm.core.errors import DdgmError
from ddgm.pipeline.store.files import Folder, FolderError

NAME = "driver.json"
TRIES = 3  # at a place that others leave and take
HEARTBEAT_SECONDS = 10.0  # between two signs of life
STALE_SECONDS = 3.5 * HEARTBEAT_SECONDS  # without one, a driver elsewhere is taken for dead


class LockError(DdgmError):
    """Another driver is at work on this run."""


class RunLock:
    """The right to write a run's folder, as long as nobody else has taken it.

    Another driver takes it where this one was stopped for so long that it seemed dead.
    """

    def __init__(self, root: str) -> None:
        self.root, self.lost = root, threading.Event()

    def check(self) -> None:
        """Raise LockError if another driver has taken the run over."""
        if self.lost.is_set():
            raise LockError(f"{self.root}: another `ddgm run` has taken this run over")


@contextmanager
def run_lock(folder: Folder) -> Iterator[RunLock]:
    """Be the run's only driver while the context lasts.

    Raises:
        LockError: another driver is alive.
    """
    mine = _me()
    for _ in range(TRIES):
        if _taken(folder, mine):
            break
        refuse_if_alive(folder)
        folder.delete(NAME)
    else:
        raise LockError(f"{folder.root}: others start runs here all the time; try again")
    lock, ended = RunLock(folder.root), threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError, FolderError):  # a full disk, say; the run itself will say so
                if _read(folder).get("token") != mine["token"]:
                    lock.lost.set()
                    return
                mine["beats"] += 1
                folder.write(NAME, _text(mine))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        ended.set()
        thread.join()
        if not lock.lost.is_set():
            with suppress(OSError, FolderError):  # what went wrong before is what counts
                folder.delete(NAME)


def refuse_if_alive(folder: Folder) -> None:
    """Look whether a run has a living driver: at once on this machine, else by its beats.

    Raises:
        LockError: it has.
    """
    theirs = driver(folder)
    if not theirs:
        return
    if theirs["host"] != socket.gethostname():
        until = time.monotonic() + STALE_SECONDS
        while time.monotonic() < until:
            time.sleep(1.0)
            if (now := driver(folder)) != theirs:
                theirs = now
                break
        else:
            return
    if theirs:
        raise LockError(
            f"output.path: {folder.root} is being written by process {theirs['pid']} on "
            f"{theirs['host']}; wait for it, stop it, or choose another folder"
        )


def driver(folder: Folder) -> dict[str, Any]:
    """The driver of a run; empty where there is none, or it is known to be dead."""
    theirs = _read(folder)
    if theirs.get("host") == socket.gethostname() and _started(theirs["pid"]) != theirs["started"]:
        return {}
    return theirs


def is_lock(folder: Folder) -> bool:
    """True if a driver wrote this driver.json, or had begun to when it was killed."""
    data = folder.read(NAME)
    return not data or bool(_read(folder))


def _taken(folder: Folder, mine: dict[str, Any]) -> bool:
    """True if the run is ours now, even if the first answer was lost on the network."""
    return folder.create(NAME, _text(mine)) or _read(folder).get("token") == mine["token"]


def _me() -> dict[str, Any]:
    me = {"token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "beats": 0}
    return me | {"started": _started(os.getpid())}


def _started(pid: int) -> float | None:
    """When a process of this machine began, so that another of its number is not taken for it."""
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.create_time()
    return None


def _read(folder: Folder) -> dict[str, Any]:
    try:
        found = json.loads(folder.read(NAME) or b"{}")
    except ValueError:  # half of one, on a store that does not write atomically
        return {}
    known = isinstance(found, dict) and {"token", "host", "pid", "started"} <= found.keys()
    return found if known else {}


def _text(me: dict[str, Any]) -> bytes:
    return json.dumps(me).encode()
