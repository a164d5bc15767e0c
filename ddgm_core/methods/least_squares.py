"""Classical reconstructions, with no learnt prior."""

from __future__ import annotations

import torch
from torch import Tensor

from ddgm.core.projectors import Projector
from ddgm.core.projectors.conjugate_gradients import conjugate_gradients


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


def filtered_back_projection(projector: Projector, y: Tensor) -> Tensor:
    """Filtered back-projection with a Hann window, for either detector and evenly spaced tilts.

    x = Δθ Aᵀ h * y with the ramp h: a lateral detector's bins are cos θ wide to the beam, which
    its ramp (over cos θ) and its back-projection (each pixel seen 1 / cos θ times) undo. Sums along
    a beam are in units of the side along the thickness, bins in those of the other side: their
    ratio is a factor.

    Args:
        projector: A.
        y: sinograms, (B, views, bins).

    Returns:
        Normalised slices, (B, thickness, width).
    """
    g, bins = projector.geometry, projector.geometry.bins
    length = 2 * bins
    n = torch.arange(length, device=y.device)
    n = torch.minimum(n, length - n).float()
    ramp = torch.where(n % 2 == 1, -1 / (torch.pi * n.clamp_min(1)) ** 2, 0.0)
    ramp[0] = 0.25  # sampled in space, so that the mean comes out right (Kak and Slaney, 3.3.3)
    hann = torch.hann_window(length, device=y.device).roll(length // 2)[: length // 2 + 1]
    filtered = torch.fft.irfft(torch.fft.rfft(y, length) * torch.fft.rfft(ramp) * hann, length)
    spacing = (g.angles[-1] - g.angles[0]) / max(g.views - 1, 1)
    return spacing * g.aspect * projector.adjoint(filtered[..., :bins].contiguous())
