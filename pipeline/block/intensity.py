"""Grey levels as the network sees them, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddgm.pipeline.block.solver import cached_prior
from ddgm.pipeline.spec.plan import Plan


@dataclass(frozen=True)
class Grey:
    """The linear map between grey levels and the network's normalised units."""

    mean: float
    std: float

    def normalised(self, grey: np.ndarray) -> Tensor:
        return torch.from_numpy((grey.astype(np.float32) - self.mean) / self.std)

    def grey(self, x: Tensor, dtype: str) -> np.ndarray:
        """Back to grey levels; integers are rounded, and clipped to what they can hold."""
        levels = x.numpy() * np.float32(self.std) + np.float32(self.mean)
        if dtype == "float32":
            return levels.astype(np.float32)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(levels), limits.min, limits.max).astype(dtype)


def grey_scale(plan: Plan, weights_digest: str) -> Grey:
    """Mean and standard deviation that normalise the volume: the spec's, or else the prior's."""
    chosen = plan.spec.source.intensity
    card = cached_prior(plan.spec.prior, weights_digest).card
    return Grey(chosen.mean, chosen.std) if chosen else Grey(card.mean, card.std)
