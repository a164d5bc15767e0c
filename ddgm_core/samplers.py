"""Reconstruction by diffusion: pure functions that read as the paper's algorithms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ddgm_core.denoiser import Denoiser
from ddgm_core.projectors import Projector

Noise = Callable[[int], Tensor]
Progress = Callable[[int, Tensor], None]


def ddgm(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    step: float,
    gradient_steps: int,
    progress: Progress | None = None,
) -> Tensor:
    """Diffusive denoising of gradient-based minimisation (Algorithm 1).

    Args:
        projector: A.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior.
        noise: step n → ε_n, (B, thickness, width), of unit variance.
        sigmas: noise levels σ_1 … σ_N.
        step: λ of x ← x - λ Aᵀ(Ax - y); it multiplies Aᵀ(Ax - y), not the gradient of the
            square, which is twice that (measured: the paper's 9e-5 would diverge otherwise).
        gradient_steps: K, gradient steps before each noise level.
        progress: called as progress(n, x) after each noise level.

    Returns:
        Normalised slices, (B, thickness, width).

    Raises:
        StepError: `step` would diverge.
    """
    descend = projector.gradient_steps(y, step, gradient_steps)
    x = y.new_zeros(len(y), projector.geometry.thickness, projector.geometry.width)
    for n, sigma in enumerate(sigmas):
        x = descend(x)
        x = x + sigma * noise(n).to(x)
        x = x - sigma * denoise(x[:, None])[:, 0]
        if progress is not None:
            progress(n, x)
    return x


def generate(
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    alpha: float,
    beta: float,
    progress: Progress | None = None,
) -> Tensor:
    """Images that the prior makes of noise alone (Eq. 2).

    What comes out still has noise of about σ_{N+1}, a grey level with the paper's constants. As
    in the paper, no last full denoising step is made: it would bring the power spectrum nearer to
    real images and the gradients farther from them (measured, see docs/decisions.md).

    Args:
        denoise: ε̂, the prior.
        noise: step n → ε_n, (B, H, W), of unit variance, where the denoiser works. Step 0 is
            what all begins with; steps 1 to N are fresh (Eq. 2 calls two noises ε_1).
        sigmas: noise levels σ_1 … σ_N, as `schedules.exponential` has them for α and β.
        alpha: α, the share of the noise that a step takes away.
        beta: β, how much of it comes back, anew: 0 none, 1 the most.
        progress: called as progress(n, x) after each noise level, n from 0.

    Returns:
        Normalised images, (B, H, W).
    """
    x = sigmas[0] * noise(0)
    for n, sigma in enumerate(sigmas):
        x = x - alpha * sigma * denoise(x[:, None])[:, 0]
        x = x + (alpha * beta) ** 0.5 * sigma * noise(n + 1)
        if progress is not None:
            progress(n, x)
    return x
