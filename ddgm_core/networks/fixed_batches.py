"""Batches of one fixed size: fast, and an image has the same bits in whatever company it comes."""

from __future__ import annotations

import torch
from torch import Tensor

from ddgm.core.networks.denoiser import Denoiser


def fixed_batches(x: Tensor, size: int) -> tuple[Tensor, ...]:
    """Images (n, …) in batches of exactly `size`, the last padded with copies of the first image.

    What is made of the batches, joined, is that of the images in its first n rows.
    """
    missing = -len(x) % size
    if missing:
        x = torch.cat([x, x[:1].expand(missing, *x.shape[1:])])
    return x.split(size)


class FixedBatches:
    """A denoiser of any number of images, by one of exactly `size`; see `Denoiser`."""

    def __init__(self, denoise: Denoiser, size: int) -> None:
        self.denoise, self.size = denoise, size

    def __call__(self, x: Tensor) -> Tensor:
        parts = [self.denoise(batch) for batch in fixed_batches(x, self.size)]
        return torch.cat(parts)[: len(x)]
