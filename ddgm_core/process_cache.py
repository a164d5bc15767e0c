"""A cache of what a worker process keeps between tasks: networks, projectors, open volumes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

KEPT = 16  # a run needs a network, a projector, a volume and a log; runs may share a worker


class _Entry:
    def __init__(self) -> None:
        self.lock, self.objects = threading.Lock(), list[Any]()


_lock = threading.Lock()  # of the entries, never held while something is built
_entries: OrderedDict[Hashable, _Entry] = OrderedDict()


def cached_in_process(key: Hashable, build: Callable[[], T]) -> T:
    """The object called `key` in this process, built at the first call and by one thread alone.

    Nobody waits for what another key stands for: a worker's event loop asks here, too, and a
    projector takes long. Keys carry a hash of what the object is made from, so that a worker may
    serve several runs. The longest unused object goes when there are more than `KEPT`.
    """
    with _lock:
        entry = _entries.setdefault(key, _Entry())
        _entries.move_to_end(key)
        while len(_entries) > KEPT:
            _entries.popitem(last=False)
    with entry.lock:
        if not entry.objects:
            entry.objects.append(build())
        return entry.objects[0]
