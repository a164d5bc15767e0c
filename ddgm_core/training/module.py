"""A network that learns, its optimiser, and the averaged weights that are kept; and Eq. 1."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ddgm.core.networks.prior import Prior
from ddgm.core.networks.unet import UNet
from ddgm.core.training.muon import Muon
from ddgm.core.training.recipe import Recipe
from ddgm.core.training.start import begin_with


def learning_rate(recipe: Recipe, step: int) -> float:
    """Share of the peak rate at an update: a linear rise, then flat or half a cosine to zero."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    done = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def optimizer(recipe: Recipe, network: UNet) -> Optimizer:
    """The recipe's, over all of a network's parameters."""
    if recipe.optimizer == "adam":
        return Adam(network.parameters(), lr=recipe.lr)
    hidden = {id(p) for block in (*network.down, *network.up) for p in block.parameters()}
    matrices = [p for p in network.parameters() if p.ndim > 1 and id(p) in hidden]
    kept = {id(p) for p in matrices}
    return Muon(matrices, (p for p in network.parameters() if id(p) not in kept), recipe.lr)


class AveragedNetwork(lightning.LightningModule):
    """A network that learns, and the average of its weights; a subclass has the loss.

    The average's memory grows with the steps, up to 1 / (1 - `average`) of them, so that the
    first ones are forgotten.

    Args:
        recipe: what to do.
        start: a prior whose weights it begins with; default: random ones.
    """

    def __init__(self, recipe: Recipe, start: Prior | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = UNet(recipe.architecture).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if start is not None:
            begin_with(self.network, start)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        # compiled where that pays: on a GPU; on the CPU it made no step faster (measured)
        self._predict: Any = self.network

    def setup(self, stage: str) -> None:
        if self.device.type == "cuda":
            self._predict = torch.compile(self.network)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One update of the weights and of their average: a checkpoint has both or neither."""
        super().optimizer_step(*args, **kwargs)
        steps = self.global_step + 1  # counted by the loop after this
        weight = 1 - min(self.recipe.average, (1 + steps) / (10 + steps))
        average, current = (list(n.parameters()) for n in (self.averaged, self.network))
        with torch.no_grad():
            torch._foreach_lerp_(average, current, weight)  # pyright: ignore[reportPrivateImportUsage]

    def configure_optimizers(self) -> Any:
        optimiser = optimizer(self.recipe, self.network)
        schedule = LambdaLR(optimiser, lambda step: learning_rate(self.recipe, step))
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class NoisePrediction(AveragedNetwork):
    """Minimises ‖ε - ε̂(x + σε)‖² (Eq. 1, weighted)."""

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        noisy, noise = (t.contiguous(memory_format=torch.channels_last) for t in batch[:2])
        errors = torch.mean((self._predict(noisy) - noise) ** 2, dim=(1, 2, 3))
        return torch.mean(errors * (1 + 10 * batch[2]) ** self.recipe.weighting)
