"""A network that learns to restore tilt series, and its validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.least_squares import gradient_descent
from ddgm.core.methods.restoration import restored, tikhonov
from ddgm.core.metrics.scores import mse
from ddgm.core.networks.conditions import TILTS
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.planes import neighbours
from ddgm.core.networks.prior import Prior
from ddgm.core.networks.unet import UNet
from ddgm.core.projectors import Projector, ProximalStep, Spectral, projector
from ddgm.core.projectors.dense import DenseProjector
from ddgm.core.simulation.noise import numbered_origins
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.core.training.events import Validated
from ddgm.core.training.module import AveragedNetwork
from ddgm.core.training.recipe import Recipe

ERROR_SCALE = 0.4  # of a Tikhonov reconstruction's error: what unit noise is scaled to at the start
SHOWN = 6  # columns of a picture


class Restoration(AveragedNetwork):
    """Minimises ‖z - R(z) - x‖² for the Tikhonov reconstruction z (see `methods.restoration`).

    Of a slice wider than a patch one tile at random is learnt from; of a network for a few
    passes, which a data step joins, the whole slice. One that sees neighbours learns from all
    slices of a stack.
    """

    def __init__(self, recipe: Recipe, start: Prior | None = None) -> None:
        super().__init__(recipe, start)
        if start is not None and start.card.restores is None:
            with torch.no_grad():
                for p in (*self.network.head.parameters(), *self.averaged.head.parameters()):
                    p.mul_(ERROR_SCALE)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, noise = (t.flatten(0, 1) for t in batch)
        conditions = self.recipe.conditions(self.global_step)
        a, sigma = exact_projector(conditions.geometry, str(self.device)), conditions.tilt_noise
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            solve = a.proximal(a.forward(x) + sigma * noise)
        if self.recipe.passes > 1:
            return torch.mean((self._unrolled(solve, x, sigma) - x) ** 2)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            z = tikhonov(solve, x, sigma)
        rng = np.random.default_rng((self.recipe.seed, self.global_step))
        column = int(rng.integers(x.shape[-1] - self.recipe.patch + 1))
        z, x = (t[..., column : column + self.recipe.patch] for t in (z, x))
        return torch.mean((z - self._errors(z) - x) ** 2)

    def _unrolled(self, solve: ProximalStep, like: Tensor, sigma: float) -> Tensor:
        def data_step(x: Tensor, mu: float) -> Tensor:
            with torch.autocast(self.device.type, enabled=False):
                return solve(x.float(), mu)

        return restored(data_step, self._errors, like, sigma, self.recipe.passes)

    def _errors(self, z: Tensor) -> Tensor:
        return in_stacks(self._predict, z, self.recipe).float()


def in_stacks(network: Callable[[Tensor], Tensor], z: Tensor, recipe: Recipe) -> Tensor:
    """A restoring network's errors of some samples' slices, (samples · stack, ·, ·), as z."""
    beside = neighbours(recipe.stack, recipe.architecture.channels).to(z.device)
    images = z.unflatten(0, (-1, recipe.stack))[:, beside].flatten(0, 1)
    return network(images.contiguous(memory_format=torch.channels_last))[:, 0]


@lru_cache(maxsize=2 * TILTS)
def exact_projector(geometry: TiltGeometry, device: str) -> Projector:
    """A of a geometry, with exact proximal steps, built once per process."""
    a = projector(geometry, device=torch.device(device))
    return a if isinstance(a, Spectral) else DenseProjector(geometry, device=torch.device(device))


@torch.no_grad()
def validate(network: UNet, recipe: Recipe, patches: Tensor, step: int) -> Validated:
    """MSE, also over that of gradient descent, and a picture, of slices as wide as a patch.

    Args:
        network: as it is after `step` updates.
        recipe: with the tilt series.
        patches: (B, stack, patch, patch) clean and never trained on, on the network's device; of
            a stack the slice in the middle counts.
        step: updates done.
    """
    assert recipe.restores is not None
    was_training, truth = network.training, patches.flatten(0, 1)
    conditions = replace(recipe.restores, width=recipe.patch)
    a, noise = exact_projector(conditions.geometry, str(patches.device)), conditions.tilt_noise
    y = tilt_series(a.forward, truth, noise, 0, numbered_origins(len(truth)))
    solve = a.proximal(y)
    restore = NetworkDenoiser(network, recipe.precision, patches.device)
    x = restored(solve, lambda z: in_stacks(restore, z, recipe), truth, noise, recipe.passes)
    descended = gradient_descent(a, y, paper.STEP / a.norm**2, paper.DESCENT_STEPS)
    made = truth, tikhonov(solve, truth, noise), x, descended
    truth, start, x, descended = (t[recipe.stack // 2 :: recipe.stack] for t in made)
    ours, theirs = (float(mse(image, truth).mean()) for image in (x, descended))
    rows = torch.stack([image[:SHOWN] for image in (truth, start, x)])
    network.train(was_training)
    pictures = {"restored": rows.float().cpu().numpy()}
    return Validated(step, {}, ours, ours / theirs, pictures)
