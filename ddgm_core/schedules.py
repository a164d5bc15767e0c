"""Noise levels of the diffusions, from the first to the last: pure functions."""

from __future__ import annotations

import numpy as np


def geometric(first: float, last: float, steps: int) -> tuple[float, ...]:
    """σ_n = σ_1 (σ_N / σ_1)^((n - 1) / (N - 1)), n = 1 … N (Algorithm 1), normalised units.

    Raises:
        ValueError: a level is not positive, or there are no steps.
    """
    if min(first, last) <= 0 or steps < 1:
        raise ValueError(f"levels must be positive and steps at least 1, not {first, last, steps}")
    return tuple(float(s) for s in np.geomspace(first, last, steps))
