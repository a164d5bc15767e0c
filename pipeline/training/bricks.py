"""A volume for training, larger than memory: bricks of it, fetched into a bounded folder."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.core.files import atomic_path, atomic_write
from ddgm.core.training.brick_schedule import BrickSchedule
from ddgm.core.training.events import Event, Started, Stepped
from ddgm.core.training.statistics import Moments
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import Volume

AHEAD = 2  # bricks that are fetched before they are needed
PATIENCE = 1800.0  # seconds to wait for a brick: a source's own time-outs end long before


def cut(box: Box, side: int) -> list[Box]:
    """Cut a box into bricks of about equal size, none longer than `side` voxels, z slowest."""
    spans = []
    for start, length in zip(box.start, box.shape, strict=True):
        edges = np.linspace(start, start + length, ceil(length / side) + 1).round().astype(int)
        spans.append(list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)))
    return [Box((z0, y0, x0), (z1, y1, x1)) for (z0, z1), (y0, y1), (x0, x1) in product(*spans)]


@dataclass(frozen=True)
class Bricks(Sequence[np.ndarray]):
    """The bricks of one volume, as files of a folder that other processes fill.

    Attributes:
        volume: where they come from.
        boxes: what each holds.
        folder: where they lie; shared with no other training.
    """

    volume: Volume
    boxes: tuple[Box, ...]
    folder: Path

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, k: int) -> np.ndarray:  # type: ignore[override]
        """Brick k, (z, y, x), mapped into memory; waits until it is there.

        Raises:
            DdgmError: it could not be fetched, or did not come.
        """
        path, failure = self.path(k), self.failure(k)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                return np.load(path, mmap_mode="r", allow_pickle=False)
            except FileNotFoundError:
                if failure.exists():
                    raise DdgmError(failure.read_text("utf-8")) from None
                time.sleep(0.05)
        raise DdgmError(f"{self.volume.url}: brick {self.boxes[k]} did not come in {PATIENCE:g} s")

    def path(self, k: int) -> Path:
        """The file of brick k; its name is a digest of all that its voxels depend on."""
        box = self.boxes[k]
        key = repr((self.volume.url, self.volume.mip, self.volume.missing, box.start, box.stop))
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"

    def failure(self, k: int) -> Path:
        """The file that says why brick k could not be fetched, if it could not."""
        return self.path(k).with_suffix(".failed")

    @property
    def bytes(self) -> int:
        """Bytes of all bricks together."""
        return sum(self.bytes_of(box) for box in self.boxes)

    def bytes_of(self, box: Box) -> int:
        """Bytes of the voxels of one box."""
        return prod(box.shape) * np.dtype(self.volume.info.dtype).itemsize


def fetch(bricks: Bricks, k: int, keep: bool) -> Moments:
    """Read brick k, store it atomically if it is to be kept, and return its moments.

    Raises:
        SourceError: it cannot be read, or some voxels are not finite.
    """
    path = bricks.path(k)
    if path.exists():
        return Moments.of(np.load(path, mmap_mode="r", allow_pickle=False))
    data = bricks.volume.read(bricks.boxes[k]).data
    if keep:
        with atomic_path(path) as partial, partial.open("wb") as f:
            np.save(f, data)
    return Moments.of(data)


def _start_fetching() -> None:
    """Prepare a fetching process: exit when the parent does; ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the pool would wait for ever for what a killed parent does not send


def fetchers(count: int) -> ProcessPoolExecutor:
    """A pool of fetching processes, spawned: cloud-volume does not survive a fork."""
    return ProcessPoolExecutor(count, get_context("spawn"), _start_fetching)


def moments(
    volumes: Sequence[tuple[Bricks, BrickSchedule]], pool: ProcessPoolExecutor
) -> Iterator[Moments]:
    """Yield the moments of every brick, in order; the first ones that are needed are kept."""
    tasks = [
        pool.submit(fetch, bricks, k, k in schedule.window(0, AHEAD))
        for bricks, schedule in volumes
        for k in range(len(bricks))
    ]
    try:
        yield from (task.result() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()


class BrickPrefetcher:
    """Keeps on disk the bricks that a training draws from and the next ones; removes the others.

    It observes the training (see `Event`), and works in a thread and processes of its own.

    Args:
        volumes: bricks, and when they are drawn from.
        drawn: patches that volume v has given before number i (see `NoisyPatches.drawn`).
        batch: patches to an update.
        processes: how many fetch at once.
    """

    def __init__(
        self,
        volumes: Sequence[tuple[Bricks, BrickSchedule]],
        drawn: Callable[[int, int], int],
        batch: int,
        processes: int,
    ) -> None:
        self.volumes, self.drawn, self.batch = volumes, drawn, batch
        self.pool = fetchers(processes)
        self.pending: dict[Path, Future[Moments]] = {}
        self.lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started | Stepped):
            self.advance(event.step * self.batch)

    def advance(self, patch: int) -> None:
        """Fetch what patch number `patch` and the next ones need, and remove the rest."""
        for v, (bricks, schedule) in enumerate(self.volumes):
            wanted = schedule.window(self.drawn(v, patch), AHEAD)
            keep = {bricks.path(k) for k in wanted}
            for k in range(len(bricks)):
                if bricks.path(k) not in keep:
                    bricks.path(k).unlink(missing_ok=True)
            for k in dict.fromkeys(wanted):
                self._fetch(bricks, k)

    def _fetch(self, bricks: Bricks, k: int) -> None:
        path = bricks.path(k)
        with self.lock:
            if path.exists() or path in self.pending:
                return
            bricks.failure(k).unlink(missing_ok=True)
            self.pending[path] = task = self.pool.submit(fetch, bricks, k, True)

        def done(task: Future[Moments]) -> None:
            with self.lock:
                self.pending.pop(path, None)
            if not task.cancelled() and (error := task.exception()):
                atomic_write(bricks.failure(k), str(error).encode())

        task.add_done_callback(done)

    def __enter__(self) -> BrickPrefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
