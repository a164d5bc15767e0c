"""A cache of what a worker process keeps between tasks: networks, projectors, open volumes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

KEPT = 8  # a run needs a network, a projector and a volume; two runs may share a worker

_lock = threading.RLock()
_objects: OrderedDict[Hashable, Any] = OrderedDict()


def cached_in_process(key: Hashable, build: Callable[[], T]) -> T:
    """The object called `key` in this process, built at the first call.

    Keys carry a hash of what the object is made from, so that a worker may serve several
    runs. The longest unused object goes when there are more than `KEPT`.
    """
    with _lock:
        if key not in _objects:
            _objects[key] = build()
        _objects.move_to_end(key)
        while len(_objects) > KEPT:
            _objects.popitem(last=False)
        return _objects[key]
