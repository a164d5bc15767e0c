"""A projector, a denoiser and a method of one's own, which specs then know by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.method import Method, Problem
from ddgm.core.networks.prior import Prior, PriorCard
from ddgm.core.networks.unet import Architecture
from ddgm.core.numbers import number
from ddgm.core.projectors import DataStep, ProximalStep, checked_step
from ddgm.core.projectors.conjugate_gradients import conjugate_gradients


class Joseph:
    """Sums along beams by linear interpolation in each row, onto a lateral detector.

    It has the methods of `ddgm.core.projectors.Projector`; `adjoint` is the transpose of `forward`.
    """

    def __init__(
        self, geometry: TiltGeometry, cache: Path | None = None, device: str | torch.device = "cpu"
    ) -> None:
        if geometry.detector != "lateral":
            raise ValueError("it is for a lateral detector")
        self.geometry = geometry
        angles = torch.tensor(geometry.pixel_angles, device=device)
        depth = torch.arange(geometry.thickness, device=device) - (geometry.thickness - 1) / 2
        across = torch.arange(geometry.width, device=device) + (geometry.bins - geometry.width) / 2
        place = across - depth[:, None] * torch.tan(angles)[:, None, None]  # views, rows, columns
        left = place.floor()
        first = geometry.bins * torch.arange(geometry.views, device=device)[:, None, None]
        self.bins = torch.stack([left, left + 1]).clamp(0, geometry.bins - 1).long() + first
        self.weights = (
            torch.stack([1 - (place - left), place - left]) / torch.cos(angles)[:, None, None]
        )
        self.norm = self._norm()

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(len(x), self.geometry.views * self.geometry.bins)
        for bins, weights in zip(self.bins, self.weights, strict=True):
            y.index_add_(1, bins.reshape(-1), (x[:, None] * weights).reshape(len(x), -1))
        return y.reshape(len(x), self.geometry.views, self.geometry.bins)

    def adjoint(self, y: Tensor) -> Tensor:
        seen = y.reshape(len(y), -1)[:, self.bins]  # two bins, views, rows, columns of each slice
        return (seen * self.weights).sum((1, 2))

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        checked_step(step, self.norm)

        def descend(x: Tensor) -> Tensor:
            for _ in range(count):
                x = x - step * self.adjoint(self.forward(x) - y)
            return x

        return descend

    def proximal(self, y: Tensor) -> ProximalStep:
        back = self.adjoint(y)

        def step(x: Tensor, mu: float) -> Tensor:
            def normal(z: Tensor) -> Tensor:
                return self.adjoint(self.forward(z)) + mu * z

            return conjugate_gradients(normal, back + mu * x, x, 30)

        return step

    def _norm(self) -> float:
        """The largest singular value, by power iteration."""
        x, size = self.weights.new_ones(1, self.geometry.thickness, self.geometry.width), 1.0
        for _ in range(30):
            x = self.adjoint(self.forward(x))
            size = float(x.norm())
            x = x / size
        return size**0.5


class Smooth(nn.Module):
    """What a mean over 3 x 3 pixels leaves is taken for the noise, scaled to its unit variance."""

    def forward(self, x: Tensor) -> Tensor:
        rest = x - avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return rest / rest.std((2, 3), keepdim=True).clamp_min(1e-6)


def smooth() -> Prior:
    """The prior `smooth`: it knows nothing of tissue but that neighbours are alike."""
    card = PriorCard(Architecture(width=8, levels=1, convolutions=2), 128.0, 34.0, 16.0)
    return Prior(Smooth(), card, digest="smooth, version 1")


@dataclass(frozen=True, kw_only=True)
class Accelerated(Method):
    """Gradient descent with Nesterov's momentum, stopped early."""

    title: ClassVar[str] = "Accelerated descent"
    name: Literal["accelerated"] = "accelerated"
    gradient_steps: int = number(15, "K", "K", ge=1, le=1000)

    @property
    def products(self) -> int:
        return self.gradient_steps

    def solve(self, problem: Problem) -> Tensor:
        a, y = problem.projector, problem.y
        x = before = torch.zeros_like(a.adjoint(y))
        for k in range(self.gradient_steps):
            ahead = x + k / (k + 3) * (x - before)
            before, x = x, ahead - a.adjoint(a.forward(ahead) - y) / a.norm**2
        return x
