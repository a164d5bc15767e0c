"""Batches of one fixed size: a product's bits can depend on its shape."""

from __future__ import annotations

import torch
from torch import Tensor


def fixed_batches(x: Tensor, size: int) -> tuple[Tensor, ...]:
    """Images (n, …) in batches of exactly `size`, the last padded with copies of the first image.

    What is made of the batches, joined, is that of the images in its first n rows.
    """
    missing = -len(x) % size
    if missing:
        x = torch.cat([x, x[:1].expand(missing, *x.shape[1:])])
    return x.split(size)
