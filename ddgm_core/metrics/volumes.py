"""Scores of a stack of slices as a volume, each put down to slices.

The mean of a score over the slices of a stack is that of the stack, so all scores of a volume are
kept, and put together over blocks, as those of slices are. The mean squared error needs nothing
more: over a volume it is the same whichever plane it is cut in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ddgm.core.batches import fixed_batches
from ddgm.core.metrics.scores import SSIM_GROUP, SSIM_REACH, similarity

CrossPlane = Literal["across", "along"]

EVERY = 8  # images of a plane from which one is scored: its neighbours look like it

# axes of a stack (slice, thickness, width) as (image, slice, other) of a plane's images
_AXES = {"across": (1, 0, 2), "along": (2, 0, 1)}


def ssim(x: Tensor, truth: Tensor, plane: CrossPlane) -> Tensor:
    """Structural similarity of (n, thickness, width) slices in a plane across them, (n,).

    Images of the plane are compared as slices are, each pair over its own range. A slice has the
    mean over the windows that are centred on it, in every `EVERY`th image; images that are
    constant in both are left out. NaN for fewer slices than a window has pixels, 11.

    Args:
        x: consecutive slices.
        truth: as x.
        plane: "across" the beam: images of (n, width), one for each pixel of thickness; or
            "along" it: images of (n, thickness), one for each of width.
    """
    if len(x) <= 2 * SSIM_REACH:
        return torch.full((len(x),), torch.nan)
    a, b = (v.permute(_AXES[plane])[EVERY // 2 :: EVERY] for v in (x, truth))
    groups = zip(fixed_batches(a, SSIM_GROUP), fixed_batches(b, SSIM_GROUP), strict=True)
    return torch.cat([similarity(*pair).mean(dim=2) for pair in groups])[: len(a)].nanmean(dim=0)


def neighbours(x: Tensor, truth: Tensor) -> Tensor:
    """Mean |difference| of each slice to the next over the truth's mean of all of them, (n,).

    1 is right: below, the volume is smoother from slice to slice than tissue is; above, rougher.
    NaN for the last, and not finite where the truth does not change at all.
    """
    return _from_each(steps(x) / steps(truth).mean())


def tilt_seam(x: Tensor, truth: Tensor, last: Sequence[int]) -> Tensor:
    """Seam energy along the tilt axis, (n,): at each border of tiles, the step across it.

    The step is over the mean step elsewhere in the stack, over the same of the truth: about 1 means
    no visible seam. NaN for all slices but those before a border.

    Args:
        x: consecutive slices, (n, thickness, width).
        truth: as x.
        last: slices after which a tile begins or ends; those outside the stack are passed over.
    """
    found, own = steps(x), steps(truth)
    inside = torch.ones(len(found), dtype=torch.bool)
    inside[[i for i in last if 0 <= i < len(found)]] = False
    ratio = found / found[inside].mean() / (own / own[inside].mean())
    return _from_each(ratio.masked_fill(inside, torch.nan))


def steps(x: Tensor) -> Tensor:
    """Mean |difference| between neighbours among (n, H, W) slices, (n - 1,)."""
    return torch.tensor([float((b - a).abs().mean()) for a, b in pairwise(x)])


def _from_each(values: Tensor) -> Tensor:
    """Values of slices and their next as those of slices: the last has none."""
    return torch.cat([values, values.new_full((1,), torch.nan)])
