"""Samples of the posterior by split Gibbs sampling: pure functions, one for each equation.

The image has a double z. Together they have the density

    p(x) exp(-‖Az - y‖² / (2σ_y²)) exp(-‖x - z‖² / (2ρ²)),

and are drawn in turn: z given x is Gaussian, and x given z is what denoises z, whose noise is ρ. As
the coupling ρ falls, x becomes a draw of p(x | y) (Vono, Dobigeon and Chainais 2019; with a
diffusion as the prior: Wu et al. 2024, PnP-DM).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, pairwise

from torch import Tensor

from ddgm.core.methods.schedules import log_linear
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import Projector
from ddgm.core.projectors.spectral import draws

Fresh = Callable[[], Tensor]
Levels = tuple[float, ...]


def split_gibbs(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    noise: Callable[[int], Tensor],
    rounds: Sequence[Levels],
    tilt_noise: float,
    progress: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """One draw of the posterior: a chain of draws given the data, and given the prior.

    Given x and y, z ~ N(C (Aᵀy / σ_y² + x / ρ²), C) with C = (AᵀA / σ_y² + I / ρ²)⁻¹, exactly
    (Wu et al. 2024, Eq. 5). Given z, x is what a reverse diffusion makes of it.

    Args:
        projector: A, with its singular vectors; see `projectors.spectral.draws`.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior, which is not told the noise level.
        noise: step n → ε_n, (B, thickness, width), of unit variance; see `draws_of`.
        rounds: noise levels of each round, as `levels_of_rounds` has them.
        tilt_noise: σ_y of y.
        progress: called as progress(n, x) after each network evaluation, n from 0.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    draw, drawn, passed = draws(projector, y), count(), count()
    x = y.new_zeros(len(y), projector.geometry.thickness, projector.geometry.width)
    left = 0.0  # noise of x

    def fresh() -> Tensor:
        return noise(next(drawn)).to(y)

    for levels in rounds:
        mu = tilt_noise**2 / (levels[0] ** 2 - left**2)  # σ_y² / ρ²
        x = draw(x, mu, tilt_noise * fresh())
        for sigma, lower in pairwise(levels):
            x = reverse_step(denoise, x, sigma, lower, fresh)
            if progress is not None:
                progress(next(passed), x)
        left = levels[-1]
    return x


def reverse_step(denoise: Denoiser, x: Tensor, sigma: float, lower: float, fresh: Fresh) -> Tensor:
    """From noise of σ to less of it: a step of the reverse diffusion; to 0, the denoised image.

    As much noise is added as is to be lost, σ̂² = σ² + (σ² - σ'²), and what then is too much
    follows the probability flow, x ← x - (σ̂ - σ') ε̂(x) (Karras et al. 2022, Algorithm 2). So the
    step draws x at σ' given x at σ, as the reverse stochastic equation does, and a long step still
    leaves nearly the right variance (measured: docs/results/posterior.md).

    Args:
        denoise: ε̂.
        x: images with noise of σ, (B, H, W).
        sigma: σ.
        lower: σ', below σ.
        fresh: a draw of unit noise, as x; not asked for where σ' is 0.
    """
    raised = raised_level(sigma, lower)
    if raised > sigma:
        x = x + (raised**2 - sigma**2) ** 0.5 * fresh()
    return x - (raised - lower) * denoise(x[:, None])[:, 0]


def raised_level(sigma: float, lower: float) -> float:
    """σ̂, the noise level that the denoiser sees in a step from σ to σ'."""
    return (2 * sigma**2 - lower**2) ** 0.5 if lower > 0 else sigma


def levels_of_rounds(couplings: Sequence[float], depth: float, evaluations: int) -> list[Levels]:
    """Noise levels of the rounds: from ρ down to a share of it, evenly in log σ; at last to 0.

    An image that keeps some noise needs no more than the rest of ρ to be coupled to its double, so
    that few evaluations go far.

    Args:
        couplings: ρ of each round.
        depth: σ / ρ where a round ends.
        evaluations: of the network, each round.

    Returns:
        `evaluations` + 1 levels for each round.
    """
    *first, last = couplings
    rounds = [log_linear(rho, depth * rho, evaluations + 1) for rho in first]
    return [*rounds, (*log_linear(last, depth * last, evaluations), 0.0)]


def draws_of(rounds: Sequence[Levels]) -> int:
    """Steps of noise that a chain asks for: one for each draw, and none for the last."""
    return sum(len(levels) for levels in rounds) - 1
