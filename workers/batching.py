"""Merge the network calls of many callers into full batches of one fixed size."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

Call = Callable[[np.ndarray], np.ndarray]

WAIT = 0.004  # seconds that an idle network waits for a batch to fill
DEPTH = 2  # batches handed to the network's thread: one at work, one ready when it ends
BACKLOG = 32  # batches that may wait; beyond them callers are turned away


class Busy(Exception):
    """Raised when the queue is full: ask another worker, or later."""


@dataclass
class BatcherStats:
    """Counters of a batcher since it was made.

    Attributes:
        calls: of the network.
        images: that callers sent.
        slots: places in the batches that were computed; `images / slots` is the fill.
        busy: seconds in the network.
        waited: seconds that images waited for their batch to begin, all together.
        refused: requests that were turned away.
    """

    calls: int = 0
    images: int = 0
    slots: int = 0
    busy: float = 0.0
    waited: float = 0.0
    refused: int = 0


@dataclass
class PendingCall:
    images: np.ndarray
    answer: np.ndarray
    done: asyncio.Future[np.ndarray]
    arrived: float = field(default_factory=time.monotonic)
    taken: int = 0
    answered: int = 0


Piece = tuple[PendingCall, int, int]  # a call's images from one index to another


class Batcher:
    """Answer calls with any number of images through network calls of exactly `size` images.

    Lives on one event loop; the network runs in a thread of its own. A batch begins as soon as it
    is full, or, when the network has nothing to do, once its oldest image has waited `wait`
    seconds: the rest is then padded with copies of an image. One fixed shape gives an image the
    same bits in whatever company it comes.

    Args:
        call: (size, channels, H, W) float32 → (size, 1, H, W).
        size: images to a call.
        wait: seconds.
        backlog: batches that may wait.
    """

    def __init__(self, call: Call, size: int, wait: float = WAIT, backlog: int = BACKLOG) -> None:
        self.call, self.size, self.wait = call, size, wait
        self.limit = backlog * size
        self.stats = BatcherStats()
        self._queue: deque[PendingCall] = deque()
        self._waiting = self._running = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "network")

    async def __call__(self, images: np.ndarray) -> np.ndarray:
        """Run the network on (n, channels, H, W) images, any n; returns (n, 1, H, W).

        Raises:
            Busy: too many images wait already.
            Exception: whatever the network raised.
        """
        if self._waiting and self._waiting + len(images) > self.limit:
            self.stats.refused += 1
            raise Busy
        done = asyncio.get_running_loop().create_future()
        self._queue.append(PendingCall(images, np.empty_like(images[:, :1]), done))
        self._waiting += len(images)
        self.stats.images += len(images)
        self._turn()
        return await done

    def _turn(self) -> None:
        """Begin the batches that can begin now, and set a timer for the rest."""
        while self._running < DEPTH and self._waiting >= self.size:
            self._begin()
        if self._running or not self._queue:
            return
        patience = self._queue[0].arrived + self.wait - time.monotonic()
        if patience <= 0:
            self._begin()
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(patience, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._turn()

    def _begin(self) -> None:
        pieces = self._take()
        if not pieces:
            return
        images = np.concatenate([r.images[a:b] for r, a, b in pieces])
        padding = np.broadcast_to(images[:1], (self.size - len(images), *images.shape[1:]))
        work = asyncio.get_running_loop().run_in_executor(
            self._thread, self._timed, np.concatenate([images, padding])
        )
        self._running += 1
        work.add_done_callback(lambda work: self._ended(work, pieces))

    def _take(self) -> list[Piece]:
        """The oldest images, `size` at most; those of callers who have gone are dropped."""
        pieces: list[Piece] = []
        room, now = self.size, time.monotonic()
        while room and self._queue:
            call = self._queue[0]
            count = min(room, len(call.images) - call.taken)
            if call.done.done():
                self._waiting -= len(call.images) - call.taken
                self._queue.popleft()
                continue
            pieces.append((call, call.taken, call.taken + count))
            call.taken += count
            self._waiting -= count
            self.stats.waited += count * (now - call.arrived)
            room -= count
            if call.taken == len(call.images):
                self._queue.popleft()
        return pieces

    def _timed(self, batch: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        try:
            return self.call(batch)
        finally:
            self.stats.busy += time.perf_counter() - start
            self.stats.calls += 1
            self.stats.slots += len(batch)

    def _ended(self, work: asyncio.Future[np.ndarray], pieces: list[Piece]) -> None:
        self._running -= 1
        error, at = work.exception(), 0
        for call, a, b in pieces:
            if call.done.done():
                pass
            elif error is not None:
                call.done.set_exception(error)
            else:
                call.answer[a:b] = work.result()[at : at + b - a]
                call.answered += b - a
                if call.answered == len(call.images):
                    call.done.set_result(call.answer)
            at += b - a
        self._turn()
