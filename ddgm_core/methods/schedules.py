"""Noise levels of the diffusions, from the first to the last: pure functions."""

from __future__ import annotations

import numpy as np


def log_linear(first: float, last: float, steps: int) -> tuple[float, ...]:
    """σ_n = σ_1 (σ_N / σ_1)^((n - 1) / (N - 1)), n = 1 … N (Algorithm 1), normalised units.

    Raises:
        ValueError: a level is not positive, or there are no steps.
    """
    if min(first, last) <= 0 or steps < 1:
        raise ValueError(f"levels must be positive and steps at least 1, not {first, last, steps}")
    return tuple(float(s) for s in np.geomspace(first, last, steps))


def eq2_levels(first: float, alpha: float, beta: float, steps: int) -> tuple[float, ...]:
    """σ_n = σ_1 ((1 - α)² + αβ)^((n - 1) / 2), n = 1 … N (Eq. 2), normalised units.

    A step takes α of the noise away and adds αβ of its variance, so the noise that is there
    falls from σ_n to σ_{n+1} where the denoiser is right (Kadkhodaie and Simoncelli, 2021).

    Raises:
        ValueError: σ_1 is not positive, α is not within 0 and 1, β is below 0 or above 1, or
            there are no steps.
    """
    if first <= 0 or not 0 < alpha < 1 or not 0 <= beta <= 1 or steps < 1:
        raise ValueError(
            "σ_1 must be positive, α within 0 and 1, β from 0 to 1 and steps at least 1, not "
            f"{first, alpha, beta, steps}"
        )
    fall = ((1 - alpha) ** 2 + alpha * beta) ** 0.5
    return tuple(first * fall**n for n in range(steps))


def annealed(first: float, last: float, steps: int, beta: float) -> float:
    """α for which Eq. 2's noise levels fall from σ_1 to σ_N in N steps, given β.

    The smaller root of (1 - α)² + αβ = (σ_N / σ_1)^(2 / (N - 1)).

    Raises:
        ValueError: there are fewer than two steps, the levels do not fall, or no α does it.
    """
    if steps < 2 or not 0 < last < first:
        raise ValueError(f"levels must fall in two steps or more, not {first, last, steps}")
    kept = (last / first) ** (2 / (steps - 1))
    root = (2 - beta) ** 2 - 4 * (1 - kept)
    if root < 0 or not 0 <= beta <= 1:
        raise ValueError(f"β = {beta} puts too much noise back for {steps} steps to {last}")
    return ((2 - beta) - root**0.5) / 2
