"""A projector of stacks of any size, by batches of one fixed size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddgm.core.batches import fixed_batches
from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.protocol import DataStep, DrawStep, Projector, ProximalStep


class BatchedProjector:
    """Gives a slice the same bits in a stack of any size; see `Projector`.

    A product's bits can depend on its shape, so each is made of exactly `size` slices.
    """

    def __init__(self, projector: Projector, size: int) -> None:
        self.projector, self.size = projector, size

    @property
    def geometry(self) -> TiltGeometry:
        return self.projector.geometry

    @property
    def norm(self) -> float:
        return self.projector.norm

    def forward(self, x: Tensor) -> Tensor:
        return self._joined(self.projector.forward, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._joined(self.projector.adjoint, y)

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        steps = [self.projector.gradient_steps(part, step, count) for part in self._parts(y)]

        def descend(x: Tensor) -> Tensor:
            parts = zip(steps, self._parts(x), strict=True)
            return torch.cat([take(part) for take, part in parts])[: len(x)]

        return descend

    def proximal(self, y: Tensor) -> ProximalStep:
        steps = [self.projector.proximal(part) for part in self._parts(y)]

        def solve(x: Tensor, weight: float) -> Tensor:
            parts = zip(steps, self._parts(x), strict=True)
            return torch.cat([take(part, weight) for take, part in parts])[: len(x)]

        return solve

    def draws(self, make: Callable[[Projector, Tensor], DrawStep], y: Tensor) -> DrawStep:
        """A step of draws, of the one that `make` gives for each batch of sinograms."""
        steps = [make(self.projector, part) for part in self._parts(y)]

        def draw(x: Tensor, weight: float, noise: Tensor) -> Tensor:
            parts = zip(steps, self._parts(x), self._parts(noise), strict=True)
            return torch.cat([take(part, weight, fresh) for take, part, fresh in parts])[: len(x)]

        return draw

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        return fixed_batches(x, self.size)

    def _joined(self, work: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.cat([work(part) for part in self._parts(x)])[: len(x)]
