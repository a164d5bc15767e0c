"""Samplers that are guided by a gradient through the network: pure functions, as in `samplers`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddgm.core.methods.rivals.samplers import renoised
from ddgm.core.methods.samplers import Noise, Progress
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import Projector, Spectral


def dps(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    alpha: float,
    beta: float,
    zeta: float,
    progress: Progress | None = None,
) -> Tensor:
    """DPS*: Eq. 2 with a normalised, rescaled gradient of the data error (Eq. 6).

    Args:
        projector: A.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior, through which gradients flow.
        noise: step n → ε_n, (B, thickness, width), of unit variance; step 0 starts.
        sigmas: noise levels σ_1 … σ_N, as `schedules.eq2_levels` has them for α and β.
        alpha: α, the share of the noise that a step takes away.
        beta: β, how much of it comes back, anew.
        zeta: ζ, the length of a data step.
        progress: called as progress(n, x) after each noise level.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    x = sigmas[0] * noise(0).to(y)
    for n, sigma in enumerate(sigmas):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            predicted = denoise(x[:, None])[:, 0]
            guess = x - sigma * predicted
            error = projector.forward(guess.detach()) - y
            # ∇‖A guess - y‖², by hand through A: its transpose is exact and needs no graph
            (gradient,) = torch.autograd.grad(guess, x, 2 * projector.adjoint(error))
        size = torch.linalg.vector_norm(error, dim=(1, 2), keepdim=True)
        with torch.no_grad():
            x = x - alpha * sigma * predicted + (alpha * beta) ** 0.5 * sigma * noise(n + 1).to(x)
            x = x - zeta * gradient / ((1 + sigma**2) ** 0.5 * size)
        if progress is not None:
            progress(n, x)
    return x.detach()


def pigdm(
    projector: Spectral,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    tilt_noise: float,
    eta: float,
    progress: Progress | None = None,
) -> Tensor:
    """Pseudoinverse-guided diffusion, ΠGDM (Song et al. 2023, Eq. 7 and Algorithm 1).

    x̂ = D(x) + σ² Jᵀ Aᵀ (r² AAᵀ + σ_y²)⁻¹ (y - A D(x)), where J is the Jacobian of D and
    r² = σ² / (σ² + 1); exact for images of white noise.

    Args:
        projector: A, with its singular values.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior, through which gradients flow.
        noise: step n → ε_n, (B, thickness, width), of unit variance; step 0 starts.
        sigmas: noise levels σ_1 … σ_N.
        tilt_noise: σ_y of y.
        eta: η, the share of fresh noise.
        progress: called as progress(n, x̂) after each noise level.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    squares, data = projector.singular_values**2, projector.data_coefficients(y)
    x = found = sigmas[0] * noise(0).to(y)
    for n, (sigma, lower) in enumerate(zip(sigmas, (*sigmas[1:], 0.0), strict=True)):
        r2 = sigma**2 / (sigma**2 + 1)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            guess = x - sigma * denoise(x[:, None])[:, 0]
            left = data - squares * projector.coefficients(guess.detach())
            (pull,) = torch.autograd.grad(
                guess, x, projector.slices(left / (r2 * squares + tilt_noise**2))
            )
        with torch.no_grad():
            found = guess + sigma**2 * pull
            x = renoised(found, (x - found) / sigma, lower, eta, noise, n)
        if progress is not None:
            progress(n, found)
    return found.detach()
