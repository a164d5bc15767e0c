"""Several chains of a method: what is counted over all of them."""

from __future__ import annotations

import torch

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.diffusion import Ddx
from ddgm.core.methods.method import Problem
from ddgm.core.projectors import projector


def test_noise_levels_are_counted_on_from_chain_to_chain() -> None:
    geometry = TiltGeometry.uniform(8, 12, views=6, detector="lateral")
    told: list[int] = []
    problem = Problem(
        projector(geometry),
        torch.zeros(1, geometry.views, geometry.bins),
        lambda x: torch.zeros_like(x),
        lambda n: torch.zeros(1, 8, 12),
        tilt_noise=1.0,
        progress=lambda n, x: told.append(n),
    )
    method = Ddx(steps=2, samples=3)
    method.sample(problem)
    assert told == list(range(method.rounds)) == [0, 1, 2, 3, 4, 5]
