"""The method whose chains are samples of the posterior."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor

from ddgm.core.methods.diffusion import Diffusion
from ddgm.core.methods.method import MethodError, Problem
from ddgm.core.methods.schedules import log_linear
from ddgm.core.methods.split_gibbs import (
    Levels,
    draws_of,
    levels_of_rounds,
    raised_level,
    split_gibbs,
)
from ddgm.core.numbers import number
from ddgm.core.projectors import DataStep
from ddgm.core.projectors.spectral import check_basis


@dataclass(frozen=True, kw_only=True)
class SplitGibbs(Diffusion):
    """Split Gibbs sampling with a diffusion as the prior (PnP-DM, Wu et al. 2024).

    Its chains are samples of the posterior, in the limit of many rounds; 40 evaluations come near
    to it (docs/results/posterior.md).
    """

    title: ClassVar[str] = "Split Gibbs"
    spectral: ClassVar[bool] = True
    needs_basis: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True
    name: Literal["split_gibbs"] = "split_gibbs"
    steps: int = number(20, "N, draws given the data", "N", ge=2, le=100_000)
    sigma: tuple[float, float] = number((3.0, 0.07), "ρ_1 and ρ_N, couplings", "ρ")
    inner: int = number(
        2, "M, network evaluations after each of them; M N a slice", "M", ge=1, le=10_000
    )
    depth: float = number(
        0.45, "noise that they leave, in units of ρ; at last they leave none", "τ", gt=0, lt=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fall = self.couplings[1] / self.couplings[0]
        if fall <= self.depth:
            raise MethodError(
                f"depth: {self.depth:g} must be below {fall:.3g}, by which sigma falls in a step; "
                "give more steps or a smaller depth"
            )

    @property
    def couplings(self) -> tuple[float, ...]:
        """ρ of each draw given the data."""
        return log_linear(*self.sigma, self.steps)

    @property
    def rounds_of_levels(self) -> list[Levels]:
        """Noise levels of the diffusions, one after each draw given the data."""
        return levels_of_rounds(self.couplings, self.depth, self.inner)

    @property
    def sigmas(self) -> tuple[float, ...]:
        return tuple(
            raised_level(*step) for levels in self.rounds_of_levels for step in pairwise(levels)
        )

    @property
    def draws(self) -> int:
        return draws_of(self.rounds_of_levels)

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        check_basis(p.projector, self.name)
        return split_gibbs(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.rounds_of_levels,
            p.tilt_noise,
            p.progress,
        )

    def data_step(self, problem: Problem, sigma: float) -> DataStep:
        solve = problem.projector.proximal(problem.y)
        return lambda x: solve(x, problem.tilt_noise**2 / sigma**2)
