"""Restoration by a network that was trained for one kind of tilt series, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ddgm.core.methods.method import Method, Network, Problem
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import DataStep, ProximalStep


def tikhonov(proximal: ProximalStep, like: Tensor, tilt_noise: float) -> Tensor:
    """argmin ‖Ax - y‖² / σ_y² + ‖x‖²: slices most probable if they were white noise.

    Args:
        proximal: the map x, μ → argmin ‖Az - y‖² + μ ‖z - x‖², see `Projector.proximal`.
        like: (B, thickness, width), for its shape and device.
        tilt_noise: σ_y.
    """
    return proximal(like.new_zeros(like.shape), tilt_noise**2)


def restored(proximal: ProximalStep, restore: Denoiser, like: Tensor, tilt_noise: float) -> Tensor:
    """x = z - R(z), where z is the Tikhonov reconstruction, and R predicts its error.

    R is trained to the least squared error, so x aims at the mean of all slices that the data
    allow (learned post-processing: Jin et al., "Deep convolutional neural network for inverse
    problems in imaging", 2017).

    Args:
        proximal: as of `tikhonov`.
        restore: R, on (B, 1, thickness, width).
        like: (B, thickness, width), for its shape and device.
        tilt_noise: σ_y.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    z = tikhonov(proximal, like, tilt_noise)
    return z - restore(z[:, None])[:, 0]


def restored_start(problem: Problem, proximal: ProximalStep) -> Tensor:
    """`restored` of a problem's measurements, which is the first of a method's evaluations."""
    p, g = problem, problem.projector.geometry
    assert p.restore is not None  # see `Method.networks`
    like = p.y.new_zeros(len(p.y), g.thickness, g.width)
    x = restored(proximal, p.restore, like, p.tilt_noise)
    p.progress(0, x)
    return x


@dataclass(frozen=True, kw_only=True)
class Restore(Method):
    """One pass of a network that was trained to restore such tilt series."""

    title: ClassVar[str] = "Learned restoration (ours)"
    spectral: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True
    name: Literal["restore"] = "restore"

    @property
    def networks(self) -> tuple[Network, ...]:
        return ("restorer",)

    @property
    def evaluations(self) -> int:
        return 1

    @property
    def draws(self) -> int:
        return 0

    def solve(self, problem: Problem) -> Tensor:
        return restored_start(problem, problem.projector.proximal(problem.y))

    def data_step(self, problem: Problem, sigma: float) -> DataStep:
        solve = problem.projector.proximal(problem.y)
        return lambda x: tikhonov(solve, x, problem.tilt_noise)
