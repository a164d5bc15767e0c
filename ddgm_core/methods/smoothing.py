"""Gaussian smoothing of a stack of slices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 2.0  # the Gaussian's standard deviation, in pixels (measured: docs/results/volumes.md)
REACH = 8  # pixels to either side that it is taken from
ROWS = 16  # of the thickness that are smoothed along the tilt axis at once, which bounds memory


def smoothed(x: Tensor, across: bool) -> Tensor:
    """A stack whose details below `SCALE` are gone; edges are continued by their last value.

    Args:
        x: slices, (B, thickness, width).
        across: whether consecutive slices are smoothed along the tilt axis, too; each slice
            stands alone otherwise.

    Returns:
        A new stack, as x.
    """
    out = _along(_along(x, 2), 1)
    if across:
        for part in out.split(ROWS, dim=1):
            part.copy_(_along(part.transpose(0, 1), 1).transpose(0, 1))
    return out


def _along(x: Tensor, axis: int) -> Tensor:
    """Images (n, H, W) smoothed along one of their axes, 1 or 2."""
    at = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    bell = torch.exp(-(at**2) / (2 * SCALE**2))
    kernel = (bell / bell.sum()).to(x).view((1, 1, -1, 1) if axis == 1 else (1, 1, 1, -1))
    sides = (0, 0, REACH, REACH) if axis == 1 else (REACH, REACH, 0, 0)
    return F.conv2d(F.pad(x[:, None], sides, mode="replicate"), kernel)[:, 0]
