"""Bins of measured views in which there are no data, filled from those in which there are.

Frequencies need every bin. A 0 in one that sees tissue beside the slab contradicts the other views,
and a sampler makes structure of what it cannot fit (measured, see docs/decisions.md). So each such
bin gets what a wider slab, which gradient descent fits to the data alone, has to say.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.fourier import FourierProjector

ROUNDS = 40  # of a fit and a filling
STEPS = 10  # of gradient descent in a round


def filled(y: Tensor, covered: Tensor, geometry: TiltGeometry, cache: Path | None = None) -> Tensor:
    """Fill the bins of sinograms that have no data.

    Args:
        y: sinograms, (B, views, bins).
        covered: True where there are data; of the same shape.
        geometry: of the slices, lateral, with the views' noise.
        cache: folder of what was built for a geometry.

    Returns:
        y with other values where `covered` is False.
    """
    if bool(covered.all()):
        return y
    side = geometry.reach
    wide = replace(geometry, width=geometry.width + 2 * side, bins=geometry.bins + 2 * side)
    weighted = FourierProjector(wide, cache)
    plain = FourierProjector(replace(wide, noise=()), cache)
    there = pad(covered, (side, side))
    whole = pad(torch.where(covered, y, 0), (side, side))
    x = torch.zeros(len(y), wide.thickness, wide.width)
    step = 1 / weighted.norm**2
    for _ in range(ROUNDS):
        x = weighted.gradient_steps(weighted.whiten(whole), step, STEPS)(x)
        whole = torch.where(there, whole, plain.forward(x))
    return torch.where(covered, y, whole[..., side : side + geometry.bins])
