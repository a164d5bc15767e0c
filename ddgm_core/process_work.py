"""Work of this process that takes long, for those who show it or report it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Work:
    """A piece of work under way.

    Attributes:
        what: in words, as in "building the eigenvectors".
        done: steps that are done.
        total: steps; 0 where they are not counted.
        task: the Dask task that it belongs to; empty: whoever is the first to need it does it once.
        began: by the monotonic clock.
    """

    what: str
    done: int = 0
    total: int = 0
    task: str = ""
    began: float = field(default_factory=lambda: time.monotonic())


Watcher = Callable[[Work | None], None]

_under_way: dict[int, Work] = {}
_numbers = itertools.count()
_watchers: list[Watcher] = []
_watching = threading.Lock()


def under_way() -> list[Work]:
    """All work of this process that is under way."""
    return list(_under_way.values())


@contextmanager
def work(what: str, total: int = 0, task: str = "") -> Iterator[Callable[[int], None]]:
    """Count what is done inside as work under way; yields a function to call with steps done."""
    number, now = next(_numbers), Work(what, 0, total, task)

    def step(done: int) -> None:
        _under_way[number] = replace(now, done=done)
        tell(_under_way[number])

    step(0)
    try:
        yield step
    finally:
        del _under_way[number]
        tell(None)


def watch(watcher: Watcher) -> None:
    """Call `watcher` as `watched` does, for as long as this process lives."""
    with _watching:
        _watchers.append(watcher)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` with each piece of work as it moves on, and with None as one ends.

    It is called by the thread that works; what it raises is ignored.
    """
    watch(watcher)
    try:
        yield
    finally:
        with _watching:
            _watchers.remove(watcher)


def tell(now: Work | None) -> None:
    """Tell the watchers of work: of this process's, or of what another one says of its own."""
    for watcher in list(_watchers):
        with suppress(Exception):
            watcher(now)
