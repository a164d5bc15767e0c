"""Restoration by a network that was trained for one kind of tilt series, in one pass or a few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from ddgm.core.methods.method import Method, Network, Problem
from ddgm.core.networks.planes import predicted_noise
from ddgm.core.numbers import number
from ddgm.core.projectors import DataStep, ProximalStep

LEFT = 0.08  # variance of the error that a pass leaves (measured, docs/results/restoring.md)


def tikhonov(proximal: ProximalStep, like: Tensor, tilt_noise: float) -> Tensor:
    """argmin ‖Ax - y‖² / σ_y² + ‖x‖²: slices most probable if they were white noise.

    Args:
        proximal: the map x, μ → argmin ‖Az - y‖² + μ ‖z - x‖², see `Projector.proximal`.
        like: (B, thickness, width), for its shape and device.
        tilt_noise: σ_y.
    """
    return proximal(like.new_zeros(like.shape), tilt_noise**2)


def restored(
    proximal: ProximalStep,
    restore: Callable[[Tensor], Tensor],
    like: Tensor,
    tilt_noise: float,
    passes: int = 1,
    progress: Callable[[int, Tensor], None] = lambda n, x: None,
) -> Tensor:
    """x = z - R(z), where z is the Tikhonov reconstruction, and R predicts its error.

    R is trained to the least squared error, so x aims at the mean of all slices that the data
    allow (learned post-processing: Jin et al., "Deep convolutional neural network for inverse
    problems in imaging", 2017). Each pass after the first begins with the slices that are most
    probable given the data and x, whose error has about the variance v: z = argmin
    ‖Az - y‖² / σ_y² + ‖z - x‖² / v. R is the same in all of them, and is trained through all of
    them (unrolled: Aggarwal et al., "MoDL", 2019).

    Args:
        proximal: as of `tikhonov`.
        restore: R, of (B, thickness, width) the errors, as it is.
        like: (B, thickness, width), for its shape and device.
        tilt_noise: σ_y.
        passes: calls of R, as many as it was trained for.
        progress: called as progress(n, x) after each pass, n from 0.

    Returns:
        Normalised slices, (B, thickness, width).
    """
    z = tikhonov(proximal, like, tilt_noise)
    for n in range(passes):
        x = z - restore(z)
        progress(n, x)
        if n + 1 == passes:
            return x
        z = proximal(x, tilt_noise**2 / LEFT)
    raise ValueError(f"passes: {passes} must be 1 or more")


def restored_start(problem: Problem, proximal: ProximalStep, passes: int = 1) -> Tensor:
    """`restored` of a problem's measurements, which are the first of a method's evaluations."""
    p, g = problem, problem.projector.geometry
    assert p.restore is not None  # see `Method.networks`
    like = p.y.new_zeros(len(p.y), g.thickness, g.width)
    restore = partial(predicted_noise, p.restore, plane="slice")
    return restored(proximal, restore, like, p.tilt_noise, passes, p.progress)


@dataclass(frozen=True, kw_only=True)
class Restore(Method):
    """A pass, or a few, of a network that was trained to restore such tilt series."""

    title: ClassVar[str] = "Learned restoration (ours)"
    spectral: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True
    name: Literal["restore"] = "restore"
    passes: int = number(
        1,
        "of prior.restorer, with a data step before each; as many as it was trained for",
        "passes",
        ge=1,
        le=100,
    )
    channels: int = number(
        1, "neighbouring slices that prior.restorer sees at once, as it was trained", ge=1, le=9
    )

    @property
    def networks(self) -> tuple[Network, ...]:
        return ("restorer",)

    @property
    def passes_of_restorer(self) -> int:
        return self.passes

    @property
    def channels_of_restorer(self) -> int:
        return self.channels

    @property
    def evaluations(self) -> int:
        return self.passes

    @property
    def draws(self) -> int:
        return 0

    def solve(self, problem: Problem) -> Tensor:
        return restored_start(problem, problem.projector.proximal(problem.y), self.passes)

    def data_step(self, problem: Problem, sigma: float) -> DataStep:
        solve = problem.projector.proximal(problem.y)
        return lambda x: tikhonov(solve, x, problem.tilt_noise)
