"""A denoiser for any height and width, made from one that works on patches (Eq. 7 to 9)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ddgm.core import paper
from ddgm.core.networks.denoiser import Denoiser

Bump = Literal["floor", "printed", "box"]


class TiledDenoiser:
    """Runs a denoiser on overlapping patches and blends what it predicts; see `Denoiser`.

    The patches of all images of a call go to the denoiser at once; see `FixedBatches`.

    Args:
        denoise: the denoiser of (n, channels, patch, patch) images, any n.
        patch: side of a patch, in pixels.
        stride: distance from patch to patch; the last is moved inward to end at the edge.
        bump: the blending window, see `bump_1d`.
        channels: neighbouring images that the denoiser sees.
    """

    def __init__(
        self,
        denoise: Denoiser,
        patch: int = paper.PATCH,
        stride: int = paper.STRIDE,
        bump: Bump = "floor",
        channels: int = 1,
    ) -> None:
        if not 0 < stride <= patch:
            raise ValueError(f"stride {stride} must be from 1 to the patch, {patch}")
        self.denoise, self.patch, self.stride = denoise, patch, stride
        self.bump: Bump = bump
        self.channels = channels
        self._layout = lru_cache(maxsize=8)(self._lay_out)

    def __call__(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height < self.patch or width < self.patch:
            whole = self(reflected(x, max(height, self.patch), max(width, self.patch)))
            return whole[..., :height, :width]
        corners, weights = self._layout(height, width, x.device)
        patches = torch.cat([x[..., i : i + self.patch, j : j + self.patch] for i, j in corners])
        predicted = self.denoise(patches).split(len(x))
        blended = torch.zeros_like(x[:, :1])
        for (i, j), weight, e in zip(corners, weights, predicted, strict=True):
            blended[..., i : i + self.patch, j : j + self.patch] += weight * e
        return blended

    def _lay_out(
        self, height: int, width: int, device: torch.device
    ) -> tuple[list[tuple[int, int]], Tensor]:
        """Corners of the patches, and their blend weights, which sum to 1 at every pixel."""
        starts = (
            tile_starts(height, self.patch, self.stride),
            tile_starts(width, self.patch, self.stride),
        )
        corners = [(i, j) for i in starts[0] for j in starts[1]]
        b = bump_1d(self.patch, self.bump)
        window = np.outer(b, b)  # Eq. 8
        total = np.zeros((height, width))
        for i, j in corners:
            total[i : i + self.patch, j : j + self.patch] += window
        weights = [window / total[i : i + self.patch, j : j + self.patch] for i, j in corners]
        with torch.inference_mode(False):  # kept, and wanted by later calls with gradients, too
            return corners, torch.from_numpy(np.stack(weights)).float().to(device)


class RowDenoiser:
    """Runs a convolutional denoiser on whole slices; see `Denoiser`.

    No tiles overlap, so a wide slice has a quarter less to compute, and no borders; but norms see
    all of it, which the network was not trained on. Measured in docs/results/tiles.md.

    Args:
        denoise: the denoiser of any number of images whose sides divide by `multiple`.
        multiple: slices are continued by reflection to multiples of so many pixels.
        channels: neighbouring images that the denoiser sees.
    """

    def __init__(self, denoise: Denoiser, multiple: int, channels: int = 1) -> None:
        self.denoise, self.multiple, self.channels = denoise, multiple, channels

    def __call__(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        whole = reflected(x, *whole_sides(height, width, self.multiple))
        return self.denoise(whole)[..., :height, :width]


def whole_sides(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Sides that `RowDenoiser` continues slices to."""
    return height + -height % multiple, width + -width % multiple


def tile_starts(length: int, patch: int, stride: int) -> list[int]:
    """First pixels of the patches that cover `length` pixels, the last moved inward to fit.

    Raises:
        ValueError: `length` is below `patch`.
    """
    if length < patch:
        raise ValueError(f"{length} pixels hold no patch of {patch}")
    starts = list(range(0, length - patch + 1, stride))
    if starts[-1] != length - patch:
        starts.append(length - patch)
    return starts


def bump_1d(patch: int, bump: Bump = "floor") -> np.ndarray:
    """Blending window along one axis, at the pixels' centres u = (2i + 1) / patch - 1.

    `floor` is exp(-1 / max(1 - u², 0.2)), chunkflow's bump with the paper's floor. `printed`
    is Eq. 9 to the letter, 1 minus that: it rises towards the edges, against its own text,
    and blends no better than `box`, no bump at all (measured, see docs/decisions.md).
    """
    u = (2 * np.arange(patch) + 1) / patch - 1
    decaying = np.exp(-1 / np.maximum(1 - u**2, 0.2))
    return {"floor": decaying, "printed": 1 - decaying, "box": np.ones(patch)}[bump]


def reflected(x: Tensor, height: int, width: int) -> Tensor:
    """Images continued to height × width by reflection, over and over where need be."""

    def index(n: int, wanted: int) -> Tensor:
        if n == 1:
            return torch.zeros(wanted, dtype=torch.long, device=x.device)
        i = torch.arange(wanted, device=x.device) % (2 * n - 2)
        return torch.minimum(i, 2 * n - 2 - i)

    rows, columns = index(x.shape[-2], height), index(x.shape[-1], width)
    return x[..., rows, :][..., columns]
