"""The training objective (Eq. 1), its optimiser, and the averaged weights that are kept."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from ddgm_core.unet import Architecture, UNet

VALIDATION_SIGMAS = (0.3, 1.0, 3.0, 10.0, 30.0)


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at a step: a linear rise, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def noise_errors(network: UNet, patches: Tensor, seed: int = 0) -> dict[float, float]:
    """Mean ‖ε - ε̂‖² per pixel of (B, 1, H, W) clean patches, at each validation σ."""
    generator = torch.Generator().manual_seed(seed)
    errors = {}
    for sigma in VALIDATION_SIGMAS:
        noise = torch.randn(patches.shape, generator=generator).to(patches)
        errors[sigma] = float(torch.mean((network(patches + sigma * noise) - noise) ** 2))
    return errors


class NoisePrediction(lightning.LightningModule):
    """Minimises ‖ε - ε̂(x + σε)‖² (Eq. 1) with Adam, keeping an average of the weights.

    The average's memory grows with the steps, up to 1 / (1 - `decay`), so that the first
    steps are forgotten.
    """

    def __init__(
        self,
        architecture: Architecture,
        steps: int,
        lr: float = 1e-3,
        warmup: int = 100,
        decay: float = 0.999,
    ) -> None:
        super().__init__()
        self.network = UNet(architecture)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self.steps, self.lr, self.warmup, self.decay = steps, lr, warmup, decay

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        noisy, noise = (t.contiguous(memory_format=torch.channels_last) for t in batch)
        loss = torch.mean((self.network(noisy) - noise) ** 2)
        self.log("loss", loss, prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the weights and of their average: a checkpoint has both or neither."""
        super().optimizer_step(*args, **kwargs)
        steps = self.global_step + 1  # counted by the loop after this
        weight = 1 - min(self.decay, (1 + steps) / (10 + steps))
        pairs = zip(self.averaged.parameters(), self.network.parameters(), strict=True)
        with torch.no_grad():
            for average, current in pairs:
                average.lerp_(current, weight)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        for sigma, error in noise_errors(self.averaged, batch).items():
            self.log(f"error_{sigma:g}", error, prog_bar=sigma == 1.0)

    def configure_optimizers(self) -> Any:
        optimiser = Adam(self.network.parameters(), lr=self.lr)
        schedule = LambdaLR(optimiser, lambda s: warmup_cosine(s, self.steps, self.warmup))
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
