"""The methods that diffuse, the paper's and ours: a denoising at each of some noise levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from ddgm.core import paper
from ddgm.core.methods import samplers
from ddgm.core.methods.method import PAPER_STEP, Method, MethodError, Network, Problem, Step
from ddgm.core.methods.restoration import restored_start
from ddgm.core.methods.schedules import log_linear
from ddgm.core.networks.planes import Plane, planes_of_levels
from ddgm.core.numbers import number
from ddgm.core.projectors import DataStep, checked_step


@dataclass(frozen=True, kw_only=True)
class Diffusion(Method):
    """Noise levels from σ_1 down to σ_N, evenly spaced in log σ, with a denoising at each."""

    steps: int = number(
        paper.STEPS, "N, noise levels: network evaluations a slice", "N", ge=1, le=100_000
    )
    sigma: tuple[float, float] = number(paper.SIGMA, "σ_1 and σ_N", "σ")
    samples: int = number(1, "S, chains a slice; their mean is the reconstruction", ge=1, le=10_000)
    seed: int = number(0, ge=0, lt=2**63)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sigma[0] >= self.sigma[1] > 0:
            raise MethodError(f"sigma: {list(self.sigma)} must fall and stay above 0")

    @property
    def sigmas(self) -> tuple[float, ...]:
        return log_linear(*self.sigma, self.steps)

    @property
    def chains(self) -> int:
        return self.samples

    @property
    def noise_seed(self) -> int:
        return self.seed


@dataclass(frozen=True, kw_only=True)
class VolumeDiffusion(Diffusion):
    """Diffusion that can denoise a stack of slices in two planes in turn."""

    planes: Literal["slice", "alternate"] = number(
        "slice",
        "alternate: the plane across the beam at every other noise level, for as many evaluations; "
        "for volumes whose voxels are cubes",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.planes not in ("slice", "alternate"):
            raise MethodError(f"planes: {self.planes!r} must be slice or alternate")

    @property
    def planes_of_levels(self) -> tuple[Plane, ...]:
        return planes_of_levels(self.planes, self.steps)


@dataclass(frozen=True, kw_only=True)
class Ddgm(VolumeDiffusion):
    """The paper's method (Algorithm 1)."""

    title: ClassVar[str] = "DDGM"
    name: Literal["ddgm"] = "ddgm"
    gradient_steps: int = number(
        paper.GRADIENT_STEPS, "K, gradient steps before each of them", "K", ge=1, le=1_000_000
    )
    step: Step = PAPER_STEP

    @property
    def products(self) -> int:
        return self.steps * self.gradient_steps

    def check(self, norm: float) -> None:
        checked_step(self.step.size(norm), norm, "method.step")

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        step = self.step.size(p.projector.norm)
        return samplers.ddgm(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.sigmas,
            step,
            self.gradient_steps,
            progress=p.progress,
            planes=self.planes_of_levels,
        )

    def data_step(self, problem: Problem, sigma: float) -> DataStep:
        a = problem.projector
        return a.gradient_steps(problem.y, self.step.size(a.norm), self.gradient_steps)


@dataclass(frozen=True, kw_only=True)
class Ddx(VolumeDiffusion):
    """Ours: DDGM with exact data steps (see docs/decisions.md)."""

    title: ClassVar[str] = "DDX"
    spectral: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True
    name: Literal["ddx"] = "ddx"
    steps: int = number(20, "N; 10 do better than DDGM's 150", "N", ge=1, le=100_000)
    sigma: tuple[float, float] = number((2.0, 0.1), "σ_1 and σ_N", "σ")
    rho: float = number(
        10.0,
        "error's variance after a denoising, in units of σ²: 15 for 10 steps, 5 for 50",
        "ρ",
        gt=0,
        le=1e6,
    )
    kappa: float = number(
        2.0, "noise that is taken away over noise that is added", "κ", gt=0, le=1e6
    )
    gamma: float = number(
        0.0,
        "what is taken away in addition of the noise smoothed over 2 pixels, at all levels but the "
        "last: 10 with `planes: alternate` and 10 levels or more",
        "γ",
        ge=0,
        le=1e6,
    )
    start: Literal["zero", "restored"] = number(
        "zero",
        "restored: from what prior.restorer makes of the data, for one evaluation more; with 3 "
        "steps, sigma from 0.5 and rho 30",
    )
    passes: int = number(
        1, "of prior.restorer, as many as it was trained for; of a restored start", ge=1, le=100
    )
    channels: int = number(
        1,
        "neighbouring slices that prior.restorer sees at once, as it was trained; of a restored "
        "start",
        ge=1,
        le=9,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start not in ("zero", "restored"):
            raise MethodError(f"start: {self.start!r} must be zero or restored")
        for name in ("passes", "channels"):
            if (value := getattr(self, name)) > 1 and self.start == "zero":
                raise MethodError(f"{name}: {value} are of a restored start; set start: restored")

    @property
    def networks(self) -> tuple[Network, ...]:
        return ("denoiser", "restorer") if self.start == "restored" else ("denoiser",)

    @property
    def passes_of_restorer(self) -> int:
        return self.passes if self.start == "restored" else 0

    @property
    def channels_of_restorer(self) -> int:
        return self.channels

    @property
    def evaluations(self) -> int:
        return self.steps + self.passes_of_restorer

    @property
    def draws(self) -> int:
        return self.steps

    @property
    def settings(self) -> str:
        if not (passes := self.passes_of_restorer):
            return super().settings
        made = f" of {passes} passes" if passes > 1 else ""
        return f"{super().settings}, from a restored image{made}"

    def solve(self, problem: Problem) -> Tensor:
        p, before = problem, self.passes_of_restorer
        return samplers.ddx(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.sigmas,
            p.tilt_noise,
            self.rho,
            self.kappa,
            progress=lambda n, x: p.progress(n + before, x),
            planes=self.planes_of_levels,
            gamma=self.gamma,
            start=partial(restored_start, p, passes=before) if before else None,
        )

    def data_step(self, problem: Problem, sigma: float) -> DataStep:
        solve = problem.projector.proximal(problem.y)
        weight = samplers.proximal_weight(problem.tilt_noise, self.rho, sigma)
        return lambda x: solve(x, weight)
