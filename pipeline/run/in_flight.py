"""Attempts of blocks that have been submitted and have not ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddgm.core.process_work import Work
from ddgm.pipeline.run.retry import BlockState

if TYPE_CHECKING:
    from distributed import Future


METHOD = "reconstruct"  # the stage whose steps are counted


@dataclass
class Attempt:
    """One attempt of a block.

    Attributes:
        name: of this attempt alone.
        state: of the block.
        pinned_worker: address of the worker that has the block.
        future: of its record.
        stage: that a worker is at now; empty while none is.
        worker: address of who is at it, or was at the last one.
        since: the clock when that stage began or ended.
        begun: whether any stage has been.
        done: steps of the reconstruction that are done, of `total`.
        total: steps of it; 0 before it has begun.
    """

    name: str
    state: BlockState
    pinned_worker: str
    future: Future
    stage: str = ""
    worker: str = ""
    since: float = 0.0
    begun: bool = False
    done: int = 0
    total: int = 0

    def end_method(self) -> None:
        """Note that its reconstruction has ended."""
        self.done = self.total = self.total or 1


class InFlight(Collection[Attempt]):
    """The attempts in flight, by name, and how many of them each worker has."""

    def __init__(self) -> None:
        self._attempts: dict[str, Attempt] = {}
        self._taken = Counter[str]()

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        """Iterate over a copy: attempts may be removed meanwhile."""
        return iter(list(self._attempts.values()))

    def __contains__(self, attempt: object) -> bool:
        return isinstance(attempt, Attempt) and attempt.name in self._attempts

    def get(self, name: str) -> Attempt | None:
        """The attempt of that name; None where it has ended."""
        return self._attempts.get(name)

    def add(self, attempt: Attempt) -> None:
        """Take in an attempt that was submitted."""
        self._attempts[attempt.name] = attempt
        self._taken[attempt.pinned_worker] += 1

    def remove(self, attempt: Attempt) -> None:
        """Forget an attempt, and let Dask forget it."""
        del self._attempts[attempt.name]
        self._taken[attempt.pinned_worker] -= 1
        attempt.future.release()

    def of_worker(self, address: str) -> list[Attempt]:
        """The attempts that are lost with a worker: pinned to it, or at a stage there."""
        return [a for a in self if address == a.pinned_worker or (a.stage and address == a.worker)]

    def note(self, work: Iterable[Work]) -> None:
        """Note what workers say that they are at; it may be older than what is known."""
        for said in work:
            if (attempt := self._attempts.get(said.task)) is not None:
                attempt.done, attempt.total = max(attempt.done, said.done), said.total

    def parts(self) -> dict[int, float]:
        """The part of its reconstruction that is done, of each block."""
        return {a.state.block: a.done / a.total if a.total else 0.0 for a in self}

    def has(self, worker: str) -> bool:
        """True if a worker has a block."""
        return self._taken[worker] > 0

    def pick_worker(self, slots: Mapping[str, int]) -> str | None:
        """Pick the worker with the most free slots; None where all are full."""
        free = {address: n - self._taken[address] for address, n in slots.items()}
        best = max(free, key=free.__getitem__, default=None)
        return best if best is not None and free[best] > 0 else None
