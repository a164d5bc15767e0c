"""Classical reconstructions, with no prior."""

from __future__ import annotations

from torch import Tensor

from ddgm_core.conjugate_gradients import conjugate_gradients
from ddgm_core.projectors import Projector


def gradient_descent(projector: Projector, y: Tensor, step: float, count: int) -> Tensor:
    """`count` steps x ← x - `step` · Aᵀ(Ax - y) from x = 0 (Eq. 4); stopping early regularises.

    Args:
        projector: A.
        y: sinograms, (B, views, bins).
        step: λ, below 2 / ‖A‖₂².
        count: K; the paper's best is 100.

    Returns:
        Normalised slices, (B, thickness, width).

    Raises:
        StepError: `step` would diverge.
    """
    zero = y.new_zeros(len(y), projector.geometry.thickness, projector.geometry.width)
    return projector.gradient_steps(y, step, count)(zero)


def cgls(projector: Projector, y: Tensor, count: int) -> Tensor:
    """`count` steps of conjugate gradients on ‖Ax - y‖² from x = 0; stopping early regularises.

    Args:
        projector: A.
        y: sinograms, (B, views, bins).
        count: steps; about a tenth of gradient descent's K does as much.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    zero = y.new_zeros(len(y), projector.geometry.thickness, projector.geometry.width)

    def normal(x: Tensor) -> Tensor:
        return projector.adjoint(projector.forward(x))

    return conjugate_gradients(normal, projector.adjoint(y), zero, count)
