"""Reconstruction by diffusion, the paper's and ours: pure functions that read as algorithms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ddgm.core.methods.smoothing import smoothed
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.networks.planes import Plane, predicted_noise
from ddgm.core.projectors import Projector, ProximalStep

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
    planes: Sequence[Plane] | None = None,
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
        planes: in which the stack is denoised at each level; by default in that of the slices.

    Returns:
        Normalised slices, (B, thickness, width).

    Raises:
        StepError: `step` would diverge.
    """
    descend = projector.gradient_steps(y, step, gradient_steps)
    x = y.new_zeros(len(y), projector.geometry.thickness, projector.geometry.width)
    for n, (sigma, plane) in enumerate(zip(sigmas, _planes(planes, sigmas), strict=True)):
        x = descend(x)
        x = x + sigma * noise(n).to(x)
        x = x - sigma * predicted_noise(denoise, x, plane)
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
        sigmas: noise levels σ_1 … σ_N, as `schedules.eq2_levels` has them for α and β.
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


def ddx(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    noise: Noise,
    sigmas: Sequence[float],
    tilt_noise: float,
    rho: float,
    kappa: float,
    progress: Progress | None = None,
    planes: Sequence[Plane] | None = None,
    gamma: float = 0.0,
    start: Callable[[ProximalStep], Tensor] | None = None,
) -> Tensor:
    """Diffusive denoising with exact data steps, and all of the noise removed.

    Three changes to `ddgm`. Its K gradient steps are solved for: after a denoising at σ_n, x is the
    image up to an error of about ρσ_n², so the image given x and y is most probably
    argmin_z ‖Az - y‖² / σ_y² + ‖z - x‖² / (ρσ_n²), a proximal step, which trusts the data more the
    noisier x is. And what the denoiser then sees is the fresh noise σ_n on top of the error that
    z still has, κσ_n together, so that much is taken away. In what is coarse and not measured, the
    error is many times σ_n; there a step in proportion to it (Tweedie's formula, for noise of
    that covariance) takes γσ_n more of the smoothed noise. What that does to measured directions
    the next data step undoes, so the last level goes without. See docs/decisions.md.

    Args:
        projector: A.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior, which is not told the noise level.
        noise: step n → ε_n, (B, thickness, width), of unit variance.
        sigmas: noise levels σ_1 … σ_N of what is added.
        tilt_noise: σ_y of y.
        rho: ρ, the error's variance after a denoising over σ_n².
        kappa: κ, the noise that is taken away over the noise that is added.
        progress: called as progress(n, x) after each noise level.
        planes: in which the stack is denoised at each level; by default in that of the slices.
        gamma: γ, what is taken away of the smoothed noise in addition, over what is added.
        start: makes x before the first data step, of the proximal step; by default x is 0, the
            mean of normalised tissue.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    solve, g = projector.proximal(y), projector.geometry
    x = y.new_zeros(len(y), g.thickness, g.width) if start is None else start(solve)
    planes = _planes(planes, sigmas)
    for n, (sigma, plane) in enumerate(zip(sigmas, planes, strict=True)):
        x = solve(x, proximal_weight(tilt_noise, rho, sigma))
        x = x + sigma * noise(n).to(x)
        found = predicted_noise(denoise, x, plane)
        x = x - kappa * sigma * found
        if gamma and n + 1 < len(sigmas):
            x = x - gamma * sigma * smoothed(found, "across" in planes)
        if progress is not None:
            progress(n, x)
    return x


def _planes(planes: Sequence[Plane] | None, sigmas: Sequence[float]) -> Sequence[Plane]:
    return ("slice",) * len(sigmas) if planes is None else planes


def proximal_weight(tilt_noise: float, rho: float, sigma: float) -> float:
    """μ of `ddx`'s proximal step: σ_y² over ρσ², the variance of the data over the image's."""
    return tilt_noise**2 / (rho * sigma**2)
