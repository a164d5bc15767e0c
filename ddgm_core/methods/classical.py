"""The classical methods, which know no prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ddgm.core import paper
from ddgm.core.methods import least_squares
from ddgm.core.methods.method import PAPER_STEP, Method, Problem, Step
from ddgm.core.numbers import Numbers, number
from ddgm.core.projectors import DataStep, Projector, checked_step


@dataclass(frozen=True, kw_only=True)
class Algebraic(Numbers):
    """The classical reconstruction beside the method's, for comparison."""

    gradient_steps: int = number(
        paper.DESCENT_STEPS, "K; the paper's best is 100", ge=1, le=1_000_000
    )
    step: Step = PAPER_STEP

    def solve(self, projector: Projector, y: Tensor) -> Tensor:
        """Normalised slices of sinograms (B, views, bins), by gradient descent."""
        step = self.step.size(projector.norm)
        return least_squares.gradient_descent(projector, y, step, self.gradient_steps)

    def check(self, norm: float) -> None:
        """Refuse a step that would diverge (StepError)."""
        checked_step(self.step.size(norm), norm, "algebraic.step")


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Method):
    """Least squares by gradient descent, stopped early (Eq. 4)."""

    title: ClassVar[str] = "Gradient descent"
    name: Literal["gradient_descent"] = "gradient_descent"
    gradient_steps: int = number(paper.DESCENT_STEPS, "K", "K", ge=1, le=1_000_000)
    step: Step = PAPER_STEP

    @property
    def products(self) -> int:
        return self.gradient_steps

    def check(self, norm: float) -> None:
        checked_step(self.step.size(norm), norm, "method.step")

    def solve(self, problem: Problem) -> Tensor:
        a = problem.projector
        step = self.step.size(a.norm)
        return least_squares.gradient_descent(a, problem.y, step, self.gradient_steps)

    def data_step(self, problem: Problem, sigma: float) -> DataStep:
        a = problem.projector
        return a.gradient_steps(problem.y, self.step.size(a.norm), self.gradient_steps)


@dataclass(frozen=True, kw_only=True)
class Cgls(Method):
    """Least squares by conjugate gradients, stopped early."""

    title: ClassVar[str] = "CGLS"
    comparison_only: ClassVar[bool] = True
    name: Literal["cgls"] = "cgls"
    gradient_steps: int = number(10, "steps of conjugate gradients", "K", ge=1, le=1_000_000)

    @property
    def products(self) -> int:
        return self.gradient_steps

    def solve(self, problem: Problem) -> Tensor:
        return least_squares.cgls(problem.projector, problem.y, self.gradient_steps)


@dataclass(frozen=True, kw_only=True)
class FilteredBackProjection(Method):
    """Filtered back-projection with a Hann window."""

    title: ClassVar[str] = "Filtered back-projection"
    comparison_only: ClassVar[bool] = True
    name: Literal["fbp"] = "fbp"

    @property
    def products(self) -> int:
        return 1

    def solve(self, problem: Problem) -> Tensor:
        return least_squares.filtered_back_projection(problem.projector, problem.y)
