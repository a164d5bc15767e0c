"""A projector in batches of one size: the same bits for a slice in a stack of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddgm.core.geometry import Detector, TiltGeometry
from ddgm.core.projectors import projector
from ddgm.core.projectors.batched import BatchedProjector

N = 10  # slices: two batches of four, and half of another


@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_it_is_the_projector_batch_by_batch(detector: Detector, tmp_path: Path) -> None:
    g = TiltGeometry.uniform(16, 24, 8, detector=detector)
    one = projector(g, tmp_path)
    many = BatchedProjector(one, 4)
    x, y = torch.randn(N, 16, 24), torch.randn(N, g.views, g.bins)
    step = 1.0 / one.norm**2
    assert (many.norm, many.geometry) == (one.norm, one.geometry)
    steps = many.gradient_steps(y, step, 3)(x), many.proximal(y)(x, 2.0)
    whole = [many.forward(x), many.adjoint(y), *steps]
    for start in (0, 4):
        part = slice(start, start + 4)
        parts = [
            one.forward(x[part]),
            one.adjoint(y[part]),
            one.gradient_steps(y[part], step, 3)(x[part]),
            one.proximal(y[part])(x[part], 2.0),
        ]
        assert all(torch.equal(a[part], b) for a, b in zip(whole, parts, strict=True))
    rest = many.proximal(y[8:])(x[8:], 2.0)
    assert torch.equal(whole[3][8:], rest)
    assert len(rest) == 2
