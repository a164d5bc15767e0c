"""deepinv's DiffPIR with our operator and prior: what a user would pick instead."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ddgm.core.errors import DdgmError
from ddgm.core.methods.method import Method, Problem
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.numbers import number
from ddgm.core.projectors import Projector

RANGE = 4.0  # deepinv has images between 0 and 1; ours, in standard deviations, within ±RANGE


class DeepinvError(DdgmError):
    """deepinv is not installed."""


def import_deepinv() -> Any:
    """The package.

    Raises:
        DeepinvError: it is not installed.
    """
    try:
        return importlib.import_module("deepinv")
    except ImportError as error:
        raise DeepinvError(
            f"diffpir: {error}; install deepinv with pip install 'ddgm[compare]', and a "
            "torchvision that is built for the same device as torch"
        ) from error


class Model(nn.Module):
    """ε̂ as deepinv has denoisers: image in [0, 1] and σ → image."""

    def __init__(self, denoise: Denoiser) -> None:
        super().__init__()
        self.denoise = denoise

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        noisy = (x - 0.5) * (2 * RANGE)
        clean = noisy - sigma * (2 * RANGE) * self.denoise(noisy)
        return clean / (2 * RANGE) + 0.5


def physics(projector: Projector, scale: float = 1.0) -> Any:
    """`scale` · A as deepinv has linear operators, on (B, 1, ·, ·); proximal steps by its CG."""
    deepinv = import_deepinv()
    g = projector.geometry
    return deepinv.physics.LinearPhysics(
        A=lambda x, **_: scale * projector.forward(x[:, 0].contiguous())[:, None],
        A_adjoint=lambda y, **_: scale * projector.adjoint(y[:, 0].contiguous())[:, None],
        img_size=(1, g.thickness, g.width),
        solver="CG",
    )


def solve(
    projector: Projector,
    y: Tensor,
    denoise: Denoiser,
    tilt_noise: float,
    steps: int,
    zeta: float,
    lam: float,
) -> Tensor:
    """Zhu et al. 2023, as deepinv runs it; its noise is torch's own, from a fixed seed.

    Args:
        projector: A.
        y: measured sinograms, (B, views, bins).
        denoise: ε̂, the prior.
        tilt_noise: σ_y of y.
        steps: N.
        zeta: ζ, the share of fresh noise.
        lam: λ, the weight of the prior.

    Returns:
        Normalised slices, (B, thickness, width).

    Raises:
        DeepinvError: deepinv is not installed.
    """
    deepinv = import_deepinv()
    ones = y.new_ones(1, projector.geometry.thickness, projector.geometry.width)
    shifted = (y + RANGE * projector.forward(ones))[:, None]  # x = 2 RANGE (u - 0.5)
    method = deepinv.sampling.DiffPIR(
        Model(denoise),
        deepinv.optim.data_fidelity.L2(),
        sigma=tilt_noise,
        max_iter=steps,
        zeta=zeta,
        lambda_=lam,
        device=y.device,
    )
    start = ones.expand(len(y), *ones.shape[1:])[:, None] / 2
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = method(shifted, physics(projector, 2 * RANGE), x_init=start)
    return (found[:, 0] - 0.5) * (2 * RANGE)


@dataclass(frozen=True, kw_only=True)
class DiffPir(Method):
    """DiffPIR (Zhu et al. 2023), as deepinv runs it."""

    title: ClassVar[str] = "DiffPIR (deepinv)"
    needs_noise: ClassVar[bool] = True
    comparison_only: ClassVar[bool] = True
    name: Literal["diffpir"] = "diffpir"
    steps: int = number(50, "N, noise levels, which deepinv chooses", "N", ge=1, le=100_000)
    zeta: float = number(0.3, "share of fresh noise", "ζ", gt=0, le=1e6)
    lam: float = number(7.0, "weight of the prior", "λ", gt=0, le=1e6)

    @property
    def evaluations(self) -> int:
        return self.steps

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        return solve(p.projector, p.y, p.denoise, p.tilt_noise, self.steps, self.zeta, self.lam)
