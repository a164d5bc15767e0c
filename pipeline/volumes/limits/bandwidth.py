"""A token bucket: how long what reads must wait to hold to a bandwidth."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Bandwidth:
    """A bound on the bytes that a process reads in a second, over all of its threads.

    A request goes out once what came before is paid for, as nobody knows beforehand what comes: so
    no more than the answers of requests that are out together is ever ahead of the bandwidth.

    Args:
        clock: monotonic seconds.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = Lock()
        self._rate = float("inf")
        self._paid_at = clock()  # when all that has come is paid for

    def set(self, rate: float) -> None:
        """Set the bytes a second, from now on; infinity is no bound."""
        with self._lock:
            now = self._clock()
            owed = max(0.0, self._paid_at - now) * self._rate if self._paid_at > now else 0.0
            self._rate, self._paid_at = rate, now + owed / rate

    def delay(self) -> float:
        """Seconds until the next request may go out."""
        with self._lock:
            return max(0.0, self._paid_at - self._clock())

    def wait(self) -> None:
        """Wait until a request may go out."""
        while (seconds := self.delay()) > 0:
            self._sleep(seconds)

    def spend(self, size: int) -> None:
        """Note bytes that have come."""
        with self._lock:
            self._paid_at = max(self._paid_at, self._clock()) + size / self._rate
