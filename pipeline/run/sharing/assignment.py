"""The order in which workers are given blocks: where they can, the one after their last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


class Assignment:
    """Hands out a run's blocks, each once, so that blocks that share chunks go to one worker.

    A worker that is through with its stretch of blocks takes the next that nobody has begun. At the
    run's end, once it has nothing to do, it takes half of what the worker with the longest has
    left: so none waits while blocks are left, and what a lost worker had left is done by others.

    Args:
        pending: the blocks, in their order.
        shares: says of a block whether it reads a chunk that the block before it reads too.
    """

    def __init__(self, pending: Iterable[int], shares: Callable[[int], bool]) -> None:
        self._stretches = stretches(pending, shares)
        self._ahead = next(self._stretches, range(0))
        self._left: dict[str, range] = {}  # of what each worker has begun

    def __bool__(self) -> bool:
        """True while a block is left."""
        return bool(self._ahead or self._left)

    def next(self, worker: str, at_work: bool = False) -> int | None:
        """The block that a worker begins now; None where none is left, or it is others' turn.

        Args:
            worker: its name.
            at_work: whether it has a block already, beside which it would only fetch another.
        """
        stretch = self._left.pop(worker, None) or self._untouched()
        if not stretch and not at_work:
            stretch = self._half_of_the_longest()
        if not stretch:
            return None
        if len(stretch) > 1:
            self._left[worker] = stretch[1:]
        return stretch[0]

    def _untouched(self) -> range:
        stretch, self._ahead = self._ahead, next(self._stretches, range(0))
        return stretch

    def _half_of_the_longest(self) -> range:
        if not self._left:
            return range(0)
        owner = max(self._left, key=lambda worker: len(self._left[worker]))
        stretch = self._left.pop(owner)
        middle = len(stretch) // 2
        if middle:
            self._left[owner] = stretch[:middle]
        return stretch[middle:]


def stretches(pending: Iterable[int], shares: Callable[[int], bool]) -> Iterator[range]:
    """Runs of consecutive blocks, each of which shares chunks with the one before it."""
    stretch = range(0)
    for block in pending:
        if stretch and block == stretch.stop and shares(block):
            stretch = range(stretch.start, block + 1)
            continue
        if stretch:
            yield stretch
        stretch = range(block, block + 1)
    if stretch:
        yield stretch
