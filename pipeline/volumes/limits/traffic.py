"""Requests and bytes that a process reads of sources, counted and held to a bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from threading import Lock
from typing import Any

from ddgm.pipeline.volumes.limits.bandwidth import Bandwidth


@dataclass(frozen=True)
class Traffic:
    """A count of what was read of sources.

    Attributes:
        requests: that were answered, and those that were tried again.
        bytes: that came, before they were unpacked.
        hits: chunks that the cache had.
    """

    requests: int = 0
    bytes: int = 0
    hits: int = 0

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.requests - other.requests, self.bytes - other.bytes, self.hits - other.hits
        )


class Meter:
    """Counts the traffic of this process, which its threads share."""

    def __init__(self) -> None:
        self.bandwidth = Bandwidth()
        self._lock, self._sum = Lock(), Traffic()

    @property
    def traffic(self) -> Traffic:
        """All so far."""
        return self._sum

    def count(self, requests: int = 0, size: int = 0, hits: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            old = self._sum
            self._sum = Traffic(old.requests + requests, old.bytes + size, old.hits + hits)


METER = Meter()
METERED = "is_metered"  # an attribute of what is counted, so that nothing is counted twice


def metered(get_file: Callable[..., Any]) -> Callable[..., Any]:
    """cloud-files' way to get a file, with its bytes counted, and no sooner than they may come."""

    if hasattr(get_file, METERED):
        return get_file

    @wraps(get_file)
    def get(*args: Any, **options: Any) -> Any:
        METER.bandwidth.wait()
        answer = get_file(*args, **options)
        size = 0 if answer[0] is None else len(answer[0])
        METER.count(requests=1, size=size)
        METER.bandwidth.spend(size)
        return answer

    setattr(get, METERED, True)
    return get
