"""Samplers that others have published: pure functions, each from its paper's equations.

Papers that keep the variance of images bounded are written here for x + σε, as the prior sees it:
σ² is their (1 - ᾱ) / ᾱ, and D(x) = x - σ ε̂(x) their x̂_0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ddgm.core.methods.samplers import Noise, Progress
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import Projector, Spectral
from ddgm.core.projectors.conjugate_gradients import conjugate_gradients
from ddgm.core.projectors.spectral import draws


def ddrm(
    projector: Spectral,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    tilt_noise: float,
    eta: float = 1.0,
    eta_b: float = 1.0,
    smallest: float = 1 / 30,
    progress: Progress | None = None,
) -> Tensor:
    """Denoising diffusion restoration models (Kawar et al. 2022, Eq. 7 and 8).

    Args:
        projector: A, with its singular values s.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior.
        noise: step n → ε_n, (B, thickness, width), of unit variance.
        sigmas: noise levels σ_1 … σ_N.
        tilt_noise: σ_y of y.
        eta: η, the share of fresh noise where the data say less than x does.
        eta_b: η_b, the weight of the data where they say more.
        smallest: singular values below it count as 0 (paper, section 3.4).
        progress: called as progress(n, x) after each noise level, x being the denoised slices.

    Returns:
        Normalised slices, (B, thickness, width), denoised at σ_N.
    """
    s = projector.singular_values
    seen = s >= smallest
    s = s.clamp_min(smallest)
    pinned, floor = projector.data_coefficients(y) / s**2, tilt_noise / s  # A⁺y, and its noise
    fresh = projector.coefficients(noise(0).to(y))
    told = seen & (floor <= sigmas[0])
    spread = (sigmas[0] ** 2 - floor**2).clamp_min(0).sqrt()
    c = torch.where(told, pinned + spread * fresh, sigmas[0] * fresh)
    x = projector.slices(c)
    for n, sigma in enumerate(sigmas):
        noisy = projector.slices(c)
        x = noisy - sigma * denoise(noisy[:, None])[:, 0]
        if progress is not None:
            progress(n, x)
        if n + 1 == len(sigmas):
            break
        before, sigma = sigma, sigmas[n + 1]
        guess, fresh = projector.coefficients(x), projector.coefficients(noise(n + 1).to(x))
        keep = (1 - eta**2) ** 0.5 * sigma
        unseen = guess + keep * (c - guess) / before + eta * sigma * fresh
        faint = guess + keep * (pinned - guess) / floor + eta * sigma * fresh
        spread = (sigma**2 - (eta_b * floor) ** 2).clamp_min(0).sqrt()
        clear = (1 - eta_b) * guess + eta_b * pinned + spread * fresh
        c = torch.where(seen, torch.where(sigma < floor, faint, clear), unseen)
    return x


def dds(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    weight: float,
    eta: float,
    inner: int,
    progress: Progress | None = None,
) -> Tensor:
    """Decomposed diffusion sampling (Chung, Lee and Ye 2024, Algorithm 2).

    Args:
        projector: A.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior.
        noise: step n → ε_n, (B, thickness, width), of unit variance; step 0 starts.
        sigmas: noise levels σ_1 … σ_N.
        weight: of ‖z - D(x)‖² beside ‖Az - y‖²: their 1 / γ.
        eta: η, the share of fresh noise.
        inner: steps of conjugate gradients, from D(x).
        progress: called as progress(n, z) after each noise level.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    data = projector.adjoint(y)

    def normal(z: Tensor) -> Tensor:
        return projector.adjoint(projector.forward(z)) + weight * z

    x = z = sigmas[0] * noise(0).to(y)
    for n, (sigma, lower) in enumerate(zip(sigmas, (*sigmas[1:], 0.0), strict=True)):
        predicted = denoise(x[:, None])[:, 0]
        guess = x - sigma * predicted
        z = conjugate_gradients(normal, data + weight * guess, guess, inner)
        x = renoised(z, predicted, lower, eta, noise, n)
        if progress is not None:
            progress(n, z)
    return z


def renoised(
    z: Tensor, predicted: Tensor, lower: float, eta: float, noise: Noise, n: int
) -> Tensor:
    """DDIM's step from an estimate to noise of σ': a share η of it fresh; at 0 none is drawn."""
    if lower == 0:
        return z
    return z + lower * ((1 - eta**2) ** 0.5 * predicted + eta * noise(n + 1).to(z))


def red_diff(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    tilt_noise: float,
    weight: float,
    rate: float,
    start: Tensor,
    progress: Progress | None = None,
) -> Tensor:
    """Regularisation by denoising diffusion, RED-diff (Mardani et al. 2024, Algorithm 1).

    Adam on ‖Ax - y‖² / (2σ_y²) + λσ_n (ε̂(x + σ_n ε) - ε)ᵀ x, the bracket being held constant.

    Args:
        projector: A.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior.
        noise: step n → ε_n, (B, thickness, width), of unit variance.
        sigmas: noise levels σ_1 … σ_N.
        tilt_noise: σ_y of y.
        weight: λ.
        rate: of Adam; its β are 0.9 and 0.99, as theirs.
        start: slices to begin with, (B, thickness, width).
        progress: called as progress(n, x) after each noise level.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    x = start.clone()
    adam = torch.optim.Adam([x], rate, betas=(0.9, 0.99))
    for n, sigma in enumerate(sigmas):
        fresh = noise(n).to(x)
        surprise = denoise((x + sigma * fresh)[:, None])[:, 0] - fresh
        data = projector.adjoint(projector.forward(x) - y) / tilt_noise**2
        x.grad = data + weight * sigma * surprise
        adam.step()
        if progress is not None:
            progress(n, x)
    return x


def daps(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    levels: Sequence[Sequence[float]],
    tilt_noise: float,
    progress: Progress | None = None,
) -> Tensor:
    """Decoupled annealing posterior sampling, DAPS (Zhang et al. 2025, Algorithm 1).

    A few Euler steps of the probability flow take x from σ_n to an image; that is drawn anew given
    the data, as if its error were white and of σ_n; and gets noise of σ_{n+1}. The draw is exact,
    in place of their Langevin steps.

    Args:
        projector: A, with its singular vectors.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior.
        noise: step n → ε_n, (B, thickness, width), of unit variance: first the start, then two for
            each level but the last.
        levels: for each n, the noise levels of the flow, from σ_n down to 0.
        tilt_noise: σ_y of y.
        progress: called as progress(n, image) after each evaluation.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    draw, fresh, passed = draws(projector, y), iter(range(2 * len(levels))), 0
    x = levels[0][0] * noise(next(fresh)).to(y)
    for n, flow in enumerate(levels):
        for sigma, lower in pairwise(flow):
            x = x - (sigma - lower) * denoise(x[:, None])[:, 0]
            if progress is not None:
                progress(passed, x)
            passed += 1
        last = n + 1 == len(levels)
        unit = torch.zeros_like(x) if last else noise(next(fresh)).to(x)
        x = draw(x, tilt_noise**2 / flow[0] ** 2, tilt_noise * unit)
        if not last:
            x = x + levels[n + 1][0] * noise(next(fresh)).to(x)
    return x
