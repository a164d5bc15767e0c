"""How good a reconstruction is, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddgm_core.projectors import Projector
from ddgm_core.tiling import tile_starts


def mse(x: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of each of (B, H, W) normalised slices, (B,)."""
    return (x - truth).square().mean(dim=(1, 2))


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each of (B, H, W) slices, (B,), torchmetrics' with its defaults.

    One slice at a time: the default data range is the larger of the two images' own ranges
    (max - min), which a batch would share. Slices are at least 11 pixels on each side.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    pairs = zip(x[:, None, None], truth[:, None, None], strict=True)
    scores = [structural_similarity_index_measure(a, b) for a, b in pairs]
    return torch.stack([s for s in scores if isinstance(s, Tensor)])


def data_residual(projector: Projector, x: Tensor, y: Tensor, sigma_y: float) -> Tensor:
    """‖Ax - y‖² per measurement, over σ_y², of each slice, (B,).

    About 1 where x explains the data to its noise: above, it contradicts what was measured;
    below, it fits noise. Without noise (`sigma_y` = 0) it is the plain mean square.
    """
    square = (projector.forward(x) - y).square().mean(dim=(1, 2))
    return square / sigma_y**2 if sigma_y > 0 else square


def seam_energy(x: Tensor, patch: int = 128, stride: int = 96) -> Tensor:
    """Mean |jump| across the tiles' lateral borders, over the mean |jump| elsewhere, (B,).

    Divide by the truth's own value: about 1 then means no visible seam. NaN where a slice is
    one tile.
    """
    width = x.shape[-1]
    jumps = (x[..., 1:] - x[..., :-1]).abs().mean(dim=1)  # (B, W - 1), between j and j + 1
    starts = tile_starts(width, patch, stride) if width > patch else []
    borders = sorted({b for s in starts for b in (s, s + patch) if 0 < b < width})
    return _ratio(jumps, [b - 1 for b in borders])


def _ratio(jumps: Tensor, at: Sequence[int]) -> Tensor:
    chosen = torch.zeros(jumps.shape[-1], dtype=torch.bool)
    chosen[list(at)] = True
    return jumps[:, chosen].mean(dim=1) / jumps[:, ~chosen].mean(dim=1)
