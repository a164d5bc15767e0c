"""Batches of one fixed size: fast, and an image has the same bits in whatever company it comes."""

from __future__ import annotations

import torch
from torch import Tensor

from ddgm.core.batches import fixed_batches
from ddgm.core.networks.denoiser import Denoiser


class FixedBatches:
    """A denoiser of any number of images, by one of exactly `size`; see `Denoiser`."""

    def __init__(self, denoise: Denoiser, size: int) -> None:
        self.denoise, self.size = denoise, size

    def __call__(self, x: Tensor) -> Tensor:
        parts = [self.denoise(batch) for batch in fixed_batches(x, self.size)]
        return torch.cat(parts)[: len(x)]
