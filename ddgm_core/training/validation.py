"""Validation of a network as a prior: noise errors, denoised and generated images, DDGM's error."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.least_squares import gradient_descent
from ddgm.core.methods.samplers import ddgm, generate
from ddgm.core.methods.schedules import eq2_levels, log_linear
from ddgm.core.metrics.scores import mse
from ddgm.core.networks.denoiser import Denoiser, NetworkDenoiser, Precision
from ddgm.core.networks.unet import UNet
from ddgm.core.projectors import Projector, projector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.core.training.events import Validated

SIGMAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SHOWN = (0.3, 1.0, 3.0)  # noise levels of the denoising picture
IMAGES = 6  # columns of a picture


def noise_errors(
    denoise: Denoiser, patches: Tensor, sigmas: Sequence[float] = SIGMAS, seed: int = 0
) -> dict[float, float]:
    """Mean ‖ε - ε̂‖² per pixel of (B, channels, H, W) clean patches, on noise that stays.

    It is that of the middle images, at each σ.
    """
    generator = torch.Generator().manual_seed(seed)
    errors = {}
    for sigma in sigmas:
        noise = torch.randn(patches.shape, generator=generator).to(patches)
        parts = zip(patches.split(16), noise.split(16), strict=True)
        total = sum(float(((denoise(x + sigma * n) - middle(n)) ** 2).sum()) for x, n in parts)
        errors[sigma] = total / middle(patches).numel()
    return errors


def middle(patches: Tensor) -> Tensor:
    """The image that is denoised, of (B, channels, H, W) neighbours: (B, 1, H, W)."""
    return patches[:, patches.shape[1] // 2 :][:, :1]


def denoised(denoise: Denoiser, patches: Tensor, seed: int = 0) -> Tensor:
    """Clean patches, then noisy and denoised in turn for each σ of `SHOWN`: (rows, B, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    rows = [middle(patches)]
    for sigma in SHOWN:
        noisy = patches + sigma * torch.randn(patches.shape, generator=generator).to(patches)
        rows += [middle(noisy), middle(noisy) - sigma * denoise(noisy)]
    return torch.stack(rows)[:, :, 0]


def reconstruction_errors(
    denoise: Denoiser, slices: Tensor, steps: int = 50, gradient_steps: int = 25
) -> tuple[float, float]:
    """DDGM's MSE on (B, H, W) slices, lateral detector, and its ratio to gradient descent's.

    Gradient descent has K = 100, the paper's and our best; both see the same measurements.
    """
    a = _projector(*slices.shape[1:], str(slices.device))
    step = paper.STEP / a.norm**2
    origins = numbered_origins(len(slices))
    y = tilt_series(a.forward, slices, paper.TILT_NOISE, 0, origins)
    field, shape = NoiseField(0, "sampler"), tuple(slices.shape[1:])
    ours = ddgm(
        a,
        y,
        denoise,
        lambda n: field.batch(shape, origins, n),
        log_linear(*paper.SIGMA, steps),
        step,
        gradient_steps,
    )
    ours_mse = float(mse(ours, slices).mean())
    return ours_mse, ours_mse / float(
        mse(gradient_descent(a, y, step, paper.DESCENT_STEPS), slices).mean()
    )


@cache
def _projector(thickness: int, width: int, device: str) -> Projector:
    geometry = TiltGeometry.uniform(thickness, width, detector="lateral")
    return projector(geometry, device=torch.device(device))


def generated(denoise: Denoiser, like: Tensor) -> Tensor:
    """Images made of noise alone, as many and as large as (B, 1, H, W): (B, H, W)."""
    shape = tuple(like.shape[-2:])
    field, origins = NoiseField(0, "generation"), numbered_origins(len(like))
    sigmas = eq2_levels(paper.GENERATION_SIGMA, paper.ALPHA, paper.BETA, paper.GENERATION_STEPS)
    return generate(
        denoise,
        lambda n: field.batch(shape, origins, n).to(like),
        sigmas,
        paper.ALPHA,
        paper.BETA,
    )


@torch.no_grad()  # not inference_mode: what it made of weights could not be trained on
def validate(
    network: UNet, precision: Precision, patches: Tensor, step: int, slices: int = 4
) -> Validated:
    """All of it, for one network; one that sees neighbours generates and reconstructs nothing.

    Args:
        network: as it is after `step` updates.
        precision: of its products.
        patches: (B, channels, patch, patch) clean and never trained on, on the network's device.
        step: updates done.
        slices: how many patches are also reconstructed with DDGM; 0 leaves that out.
    """
    was_training = network.training
    denoise = NetworkDenoiser(network, precision, patches.device)
    few, lone = patches[:IMAGES], network.architecture.channels == 1
    pictures = {"denoised": denoised(denoise, few)}
    if lone:
        pictures["samples"] = torch.stack([few[:, 0], generated(denoise, few)])
    nothing = float("nan"), float("nan")
    tried = slices and lone
    mean, ratio = reconstruction_errors(denoise, patches[:slices, 0]) if tried else nothing
    event = Validated(
        step,
        noise_errors(denoise, patches),
        mean,
        ratio,
        {name: p.float().cpu().numpy() for name, p in pictures.items()},
    )
    network.train(was_training)
    return event
