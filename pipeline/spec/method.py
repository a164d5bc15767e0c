"""The methods that a spec can name, with their numbers."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ddgm.pipeline.spec.base import Seed, StrictModel


class Step(StrictModel):
    """λ of the gradient steps, as a share of 1 / ‖A‖₂² or as it is: one of the two."""

    relative: float | None = Field(
        default=None, gt=0, le=1e6, description="the paper's 9e-5 at 128 x 128 is 1.42"
    )
    absolute: float | None = Field(default=None, gt=0, le=1e6)

    @model_validator(mode="after")
    def _one_of_two(self) -> Step:
        if (self.relative is None) == (self.absolute is None):
            raise ValueError("give one of {relative: 1.42} and {absolute: 9.0e-5}")
        return self

    def size(self, norm: float) -> float:
        """λ for an operator of this norm, ‖A‖₂."""
        if self.absolute is not None:
            return self.absolute
        assert self.relative is not None
        return self.relative / norm**2


class _Descent(StrictModel):
    gradient_steps: int = Field(ge=1, le=1_000_000)
    step: Step = Step(relative=1.42)


class _Diffusion(StrictModel):
    """Noise levels from σ_1 down to σ_N, with a denoising at each."""

    steps: int = Field(
        default=50, ge=1, le=100_000, description="N, noise levels: network evaluations a slice"
    )
    sigma: tuple[float, float] = Field(default=(3.0, 0.03), description="σ_1 and σ_N")
    samples: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="S, chains a slice; their mean is the reconstruction",
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _sigma_falls(self) -> Self:
        if not self.sigma[0] >= self.sigma[1] > 0:
            raise ValueError(f"sigma: {list(self.sigma)} must fall and stay above 0")
        return self


class Ddgm(_Diffusion, _Descent):
    """The paper's method (Algorithm 1)."""

    title: ClassVar = "DDGM"
    name: Literal["ddgm"] = "ddgm"
    gradient_steps: int = Field(
        default=25, ge=1, le=1_000_000, description="K, gradient steps before each of them"
    )


class Ddx(_Diffusion):
    """Ours: DDGM with exact data steps (see docs/decisions.md)."""

    title: ClassVar = "DDX"
    name: Literal["ddx"]
    steps: int = Field(default=20, ge=1, le=100_000, description="N; 10 do better than DDGM's 150")
    sigma: tuple[float, float] = Field(default=(2.0, 0.1), description="σ_1 and σ_N")
    rho: float = Field(
        default=10.0,
        gt=0,
        le=1e6,
        description="error's variance after a denoising, in units of σ²: 15 for 10 steps, 5 for 50",
    )
    kappa: float = Field(
        default=2.0, gt=0, le=1e6, description="noise that is taken away over noise that is added"
    )


class GradientDescent(_Descent):
    """Least squares by gradient descent, stopped early (Eq. 4)."""

    title: ClassVar = "Gradient descent"
    name: Literal["gradient_descent"]
    gradient_steps: int = Field(default=100, ge=1, le=1_000_000, description="K")


class Algebraic(_Descent):
    """The classical reconstruction beside the method's, for comparison."""

    gradient_steps: int = Field(
        default=100, ge=1, le=1_000_000, description="K; the paper's best is 100"
    )
