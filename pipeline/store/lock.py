"""One driver at a time: RUN/driver.json says who writes a run, and counts while it lives.

The file is made with its contents, which only one process can do. A dead driver's file is never
removed: whoever takes over first makes driver.json.TOKEN.takeover, named by the dead one's token,
which again only one process can do, and then replaces driver.json. So the run is that driver's
whose file is the last of this chain; one that dies on the way is taken over in the same manner.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace

from ddgm.core.errors import DdgmError
from ddgm.pipeline.store import process
from ddgm.pipeline.store.files import Folder, FolderError

NAME = "driver.json"
TOKEN = re.compile(r"[0-9a-f]{32}")  # it becomes part of a file's name
TAKEOVER = re.compile(r"\.[0-9a-f]{32}\.takeover$")
TRIES = 20  # at a place that others leave and take
HEARTBEAT_SECONDS = 10.0  # between two signs of life
STALE_SECONDS = 3.5 * HEARTBEAT_SECONDS  # without one, a driver elsewhere is taken for dead


class LockError(DdgmError):
    """Another driver is at work on this run."""

    failure = "locked"


@dataclass(frozen=True)
class Driver:
    """The driver of a run: the contents of driver.json.

    Attributes:
        token: of this start alone.
        host: name of its machine, for people.
        machine: see `process.machine`.
        pid: its number there.
        ticks: see `process.start_ticks`.
        beats: how often it has shown that it lives.
    """

    token: str
    host: str = ""
    machine: str = ""
    pid: int = 0
    ticks: int = 0
    beats: int = 0

    @classmethod
    def this_process(cls) -> Driver:
        """A new token for this process."""
        pid = os.getpid()
        ticks = process.start_ticks(pid) or 0 if process.machine() else 0
        return cls(uuid.uuid4().hex, socket.gethostname(), process.machine(), pid, ticks)

    @classmethod
    def from_json(cls, data: bytes) -> Driver:
        """Read back; what no driver wrote is nobody, under a token made of its bytes."""
        try:
            found = cls(**json.loads(data))
            typed = all(type(getattr(found, k)) is type(v) for k, v in asdict(_NOBODY).items())
            if typed and TOKEN.fullmatch(found.token) and found.pid > 0:
                return found
        except (ValueError, TypeError, RecursionError):
            pass
        return cls(hashlib.blake2b(data, digest_size=16).hexdigest())

    def to_json(self) -> bytes:
        """The bytes of driver.json."""
        return json.dumps(asdict(self)).encode()

    def lives(self) -> bool | None:
        """True if its process is alive; None where only its heartbeat can tell."""
        if not self.pid:
            return False
        if not self.machine or self.machine != process.machine():
            return None
        try:
            return process.start_ticks(self.pid) == self.ticks
        except PermissionError:
            return None


_NOBODY = Driver("")


class RunLock:
    """The right to write a run's folder, as long as nobody else has taken it.

    Another driver takes it where this one was stopped for so long that it seemed dead.
    """

    def __init__(self, folder: Folder, driver: Driver) -> None:
        self.folder, self.driver = folder, driver
        self.lost, self.ended = threading.Event(), threading.Event()

    def check(self) -> None:
        """Raise LockError if another driver has taken the run over."""
        if self.lost.is_set():
            raise LockError(f"{self.folder.root}: another `ddgm run` has taken this run over")

    def beat(self) -> None:
        """Show now and then that this process lives, until it ends or another has taken over."""
        while not self.ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError, FolderError):  # a full disk, say; the run itself will say so
                if _tokens(self.folder) != [self.driver.token]:
                    self.lost.set()
                    return
                self.driver = replace(self.driver, beats=self.driver.beats + 1)
                self.folder.write(NAME, self.driver.to_json())

    def release(self) -> None:
        """Leave the run, which from then on is nobody's; one that was taken over is left alone."""
        with suppress(OSError, FolderError):  # what went wrong before is what counts
            # first in the way of all who would take over: none of them is to be removed
            name, leaving = _takeover(self.driver), Driver.this_process()
            if self.lost.is_set():
                return
            try:
                first = self.folder.create(name, leaving.to_json())
            except (OSError, FolderError):
                # a full disk, on which nobody else could begin to take over either
                own = self.folder.local_path() and _tokens(self.folder) == [self.driver.token]
                if own:
                    self.folder.delete(NAME)
                return
            if first:
                if _tokens(self.folder) == [self.driver.token, leaving.token]:
                    self.folder.delete(NAME)
                self.folder.delete(name)


@contextmanager
def run_lock(folder: Folder) -> Iterator[RunLock]:
    """Be the run's only driver while the context lasts.

    Raises:
        LockError: another driver is alive.
    """
    lock = RunLock(folder, _taken(folder))
    thread = threading.Thread(target=lock.beat, daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        lock.ended.set()
        thread.join()
        lock.release()


def driver(folder: Folder) -> Driver | None:
    """The driver of a run; None where there is none, or it is known to be dead."""
    chain = _chain(folder)
    return chain[-1] if chain and chain[-1].lives() is not False else None


@dataclass
class WatchedDriver:
    """The driver of a run as seen from anywhere: at once on its machine, else by its heartbeat."""

    folder: Folder
    last: Driver | None = None
    since: float = 0.0

    def lives(self) -> bool:
        """True if there is a driver that is not known to be dead; to be asked again and again."""
        if (now := driver(self.folder)) is None:
            return False
        if now != self.last:
            self.last, self.since = now, time.monotonic()
        return bool(now.lives()) or time.monotonic() - self.since < STALE_SECONDS


def is_lock(folder: Folder) -> bool:
    """True if a driver wrote this driver.json, or had begun to when it was killed."""
    data = folder.read(NAME)
    return not data or Driver.from_json(data).pid > 0


def _taken(folder: Folder) -> Driver:
    """This process as the run's driver."""
    mine = Driver.this_process()
    for _ in range(TRIES):
        if _made(folder, NAME, mine):
            return _alone(folder, mine)
        chain = _chain(folder)
        if not chain:
            continue  # it has ended meanwhile
        _refuse_if_alive(folder, chain[-1])
        name = _takeover(chain[-1])
        if not _made(folder, name, mine):
            continue  # another process takes over at this moment
        if _tokens(folder) == [d.token for d in (*chain, mine)]:
            folder.write(NAME, mine.to_json())
            return _alone(folder, mine)
        folder.delete(name)  # the dead one was taken over before we looked
    raise LockError(f"{folder.root}: others start runs here all the time; try again")


def _alone(folder: Folder, mine: Driver) -> Driver:
    """This process, once what others' takings over left is removed: driver.json is not theirs."""
    for name in folder.names(""):
        if name.startswith(NAME) and TAKEOVER.search(name) and name != _takeover(mine):
            folder.delete(name)
    return mine


def _refuse_if_alive(folder: Folder, last: Driver) -> None:
    """Look whether a driver lives: at once on this machine, else by its heartbeat."""
    lives, until = last.lives(), time.monotonic() + STALE_SECONDS
    while lives is None and time.monotonic() < until:
        time.sleep(min(1.0, STALE_SECONDS / 10))
        now = _chain(folder)
        if not now:
            return
        if now[-1] != last:
            last, lives = now[-1], now[-1].lives() is not False
    if lives:
        raise LockError(
            f"output.path: {folder.root} is being written by process {last.pid} on {last.host}; "
            "wait for it, stop it, or choose another folder"
        )


def _chain(folder: Folder) -> list[Driver]:
    """The driver of driver.json, and those who take over from it, each from the one before."""
    found: list[Driver] = []
    data = folder.read(NAME)
    while data is not None and len(found) < TRIES:
        found.append(Driver.from_json(data))
        data = folder.read(_takeover(found[-1]))
    return found


def _tokens(folder: Folder) -> list[str]:
    return [driver.token for driver in _chain(folder)]


def _made(folder: Folder, name: str, mine: Driver) -> bool:
    """True if the file is ours now, even if the first answer was lost on the network."""
    if folder.create(name, mine.to_json()):
        return True
    data = folder.read(name)
    return data is not None and Driver.from_json(data).token == mine.token


def _takeover(dead: Driver) -> str:
    return f"{NAME}.{dead.token}.takeover"
