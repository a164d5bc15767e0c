"""Weights that make noise white where a perpendicular detector was stretched to a lateral one.

A view at tilt θ of a perpendicular detector says p(u); at the place l of the slab's lateral grid it
says p(l cos θ). White noise of variance σ² on the detector's bins is then limited to lateral
frequencies |ω| < π cos θ, and white there with a density of σ² / cos θ; above there are no data. So
one weight for each view and lateral frequency, √(cos θ) / σ below and 0 above, makes the noise of
all data white. It multiplies A as well, and changes nothing of what A is: one small matrix per
lateral frequency.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry


def weights(geometry: TiltGeometry, length: int) -> Tensor | None:
    """The weight of each lateral frequency and view; None where noise is white as it is.

    Args:
        geometry: its `noise` is that of each view's detector.
        length: of the Fourier transform, in bins.

    Returns:
        (frequencies, views, 1), float64.
    """
    if not geometry.noise:
        return None
    cosines = torch.tensor(geometry.angles, dtype=torch.float64).cos()
    noise = torch.tensor(geometry.noise, dtype=torch.float64)
    frequency = torch.arange(length // 2 + 1, dtype=torch.float64)[:, None] * (2 / length)  # of π
    return torch.where(frequency < cosines, cosines.sqrt() / noise, 0.0)[..., None]
