"""Volumes larger than what can be kept: which of their bricks are drawn from, and when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class BrickSchedule:
    """The bricks of a volume that its n-th patch may come from, for every n.

    An endless row of bricks, pass after pass over all of them, each pass in an order of its
    own; and on it a window that moves on by one brick every `turnover` patches. It depends on
    n alone, so a training that is resumed draws what an undisturbed one would have drawn.

    Attributes:
        count: bricks of the volume.
        resident: bricks in the window; `count` or more stands for all, and nothing moves.
        turnover: patches between two moves.
        seed: of the orders.
    """

    count: int
    resident: int
    turnover: int
    seed: int = 0

    def window(self, n: int, ahead: int = 0) -> tuple[int, ...]:
        """Numbers of the bricks that patch n may come from, and of `ahead` that come next."""
        if self.resident >= self.count:
            return tuple(range(self.count))
        first = n // self.turnover
        return tuple(self._at(q) for q in range(first, first + self.resident + ahead))

    def _at(self, q: int) -> int:
        return int(_order(self.seed, q // self.count, self.count)[q % self.count])


@lru_cache(maxsize=8)
def _order(seed: int, turn: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, turn)).permutation(count)
