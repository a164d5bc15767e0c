"""Scores of a reconstruction, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ddgm.core import paper
from ddgm.core.batches import fixed_batches
from ddgm.core.networks.tiling import tile_starts


def mse(x: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of each of (B, H, W) normalised slices, (B,)."""
    return _mean((x - truth).square())


# slices to a call, as its channels: 5.9 ms for one of 128 x 1568 where it takes 21 alone (measured)
SSIM_GROUP = 4
SSIM_REACH = 5  # pixels on each side of one that count for it
SSIM_MAPS = 30  # that a call holds of each, in float32, at its peak (measured at 128 x 10,000)


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each of (B, H, W) slices, (B,), torchmetrics' with its defaults.

    The default data range is the larger of the two images' own ranges (max - min), which a batch
    would share: here each pair is divided by its own. Slices are at least 11 pixels on each side.
    NaN where both are constant.
    """
    groups = zip(fixed_batches(x, SSIM_GROUP), fixed_batches(truth, SSIM_GROUP), strict=True)
    return torch.cat([_mean(similarity(a, b)) for a, b in groups])[: len(x)]


def similarity(x: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity in the window around each pixel of (B, H, W) images, as x."""
    span = torch.maximum(_range(x), _range(truth))[:, None, None]
    a, b = (pad((v / span)[None], (SSIM_REACH,) * 4, mode="reflect") for v in (x, truth))
    maps = torch.cat((a, b, a * a, b * b, a * b)).contiguous(memory_format=torch.channels_last)
    line, count = _window(x), len(x)
    maps = conv2d(maps, line[:, None].expand(count, 1, -1, 1), groups=count)
    means = conv2d(maps, line.expand(count, 1, 1, -1), groups=count)
    mean_a, mean_b, square_a, square_b, product = means
    variances = (square_a - mean_a**2).clamp(min=0) + (square_b - mean_b**2).clamp(min=0)
    covariance = product - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2  # of a range of 1
    same = (2 * (mean_a * mean_b) + c1) * (2 * covariance + c2)
    return same / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))


def _window(like: Tensor) -> Tensor:
    """The Gaussian that local means are weighted by along each side, σ = 1.5 pixels."""
    at = torch.arange(-SSIM_REACH, SSIM_REACH + 1, dtype=like.dtype, device=like.device)
    line = torch.exp(-((at / 1.5) ** 2) / 2)
    return line / line.sum()


def _mean(x: Tensor) -> Tensor:
    """Mean of each image, by rows first: in one go torch sums one image otherwise than several."""
    return x.mean(dim=2).mean(dim=1)


def _range(x: Tensor) -> Tensor:
    return x.amax(dim=(1, 2)) - x.amin(dim=(1, 2))


def data_residual(projection: Tensor, y: Tensor, sigma_y: float) -> Tensor:
    """‖Ax - y‖² per measurement, over σ_y², of each projected slice Ax, (B, views, bins); (B,).

    About 1 where x explains the data to its noise: above, it contradicts what was measured;
    below, it fits noise. Without noise (`sigma_y` = 0) it is the plain mean square.
    """
    square = _mean((projection - y).square())
    return square / sigma_y**2 if sigma_y > 0 else square


def seam_energy(x: Tensor, patch: int = paper.PATCH, stride: int = paper.STRIDE) -> Tensor:
    """Mean |jump| across the tiles' lateral borders, over the mean |jump| elsewhere, (B,).

    Divide by the truth's own value: about 1 then means no visible seam. NaN where a slice is
    one tile.
    """
    jumps = (x[..., 1:] - x[..., :-1]).abs().mean(dim=1)  # (B, W - 1), between j and j + 1
    return _ratio(jumps, [b - 1 for b in tile_borders(x.shape[-1], patch, stride)])


def tile_borders(length: int, patch: int, stride: int) -> list[int]:
    """The pixels along a side at which a tile begins, or the first beyond one; none of one tile."""
    starts = tile_starts(length, patch, stride) if length > patch else []
    return sorted({b for s in starts for b in (s, s + patch) if 0 < b < length})


def _ratio(jumps: Tensor, at: Sequence[int]) -> Tensor:
    chosen = torch.zeros(jumps.shape[-1], dtype=torch.bool)
    chosen[list(at)] = True
    return jumps[:, chosen].mean(dim=1) / jumps[:, ~chosen].mean(dim=1)
