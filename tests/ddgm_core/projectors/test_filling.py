"""Bins without data get what the other views foretell of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.filling import filled
from ddgm.core.projectors.fourier import FourierProjector
from ddgm.core.simulation.phantom import neuropil


def test_what_a_field_misses_is_foretold_from_what_it_sees() -> None:
    tissue = neuropil((24, 8, 160), seed=2)[:, :4].astype(np.float32)
    x = torch.from_numpy((tissue - tissue.mean()) / tissue.std()).movedim(1, 0).contiguous()
    wide = TiltGeometry.uniform(24, 160, 21, detector="lateral")
    sums = FourierProjector(wide).forward(x)
    own = replace(wide, width=96, bins=96 + 2 * wide.reach, noise=(1.0,) * 21)
    cut = (wide.bins - own.bins) // 2
    y = sums[..., cut:-cut]
    bins = torch.arange(own.bins) - (own.bins - 1) / 2
    covered = (bins.abs() * torch.tensor(own.angles).cos()[:, None] <= 48).expand_as(y)
    found = filled(torch.where(covered, y, 1e6), covered, own)
    assert torch.equal(found[covered], y[covered])
    near = ~covered & (bins.abs() < 52)  # beyond, nothing tells
    assert (found - y)[near].square().mean() < 0.5 * y[near].square().mean()
    assert filled(y, torch.ones_like(covered), own) is y
