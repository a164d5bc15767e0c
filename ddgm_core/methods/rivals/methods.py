"""Diffusion methods that others have published, with our operator and prior, for comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ddgm.core import paper
from ddgm.core.methods.diffusion import Diffusion
from ddgm.core.methods.method import Problem
from ddgm.core.methods.restoration import tikhonov
from ddgm.core.methods.rivals import guidance, samplers
from ddgm.core.methods.schedules import annealed, log_linear
from ddgm.core.numbers import number
from ddgm.core.projectors import Spectral
from ddgm.core.projectors.spectral import check_basis


@dataclass(frozen=True, kw_only=True)
class Ddrm(Diffusion):
    """Denoising diffusion restoration models (Kawar et al. 2022)."""

    title: ClassVar[str] = "DDRM"
    spectral: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True
    comparison_only: ClassVar[bool] = True
    name: Literal["ddrm"] = "ddrm"
    steps: int = number(10, "N, noise levels", "N", ge=1, le=100_000)
    sigma: tuple[float, float] = number((30.0, paper.SIGMA[1]), "σ_1 and σ_N", "σ")
    eta: float = number(1.0, "share of fresh noise where the data say little", "η", gt=0, le=1e6)

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        assert isinstance(p.projector, Spectral)  # see `spectral`
        return samplers.ddrm(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.sigmas,
            p.tilt_noise,
            self.eta,
            progress=p.progress,
        )


@dataclass(frozen=True, kw_only=True)
class Dps(Diffusion):
    """Diffusion posterior sampling, with the paper's schedule (Eq. 6)."""

    title: ClassVar[str] = "DPS*"
    comparison_only: ClassVar[bool] = True
    name: Literal["dps"] = "dps"
    zeta: float = number(0.1, "length of a data step", "ζ", gt=0, le=1e6)
    beta: float = number(paper.BETA, "share of the noise that comes back, anew", "β", gt=0, le=1e6)

    @property
    def draws(self) -> int:
        return self.steps + 1  # it begins with noise

    @property
    def products(self) -> int:
        return self.steps

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        alpha = annealed(*self.sigma, self.steps, self.beta)
        return guidance.dps(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.sigmas,
            alpha,
            self.beta,
            self.zeta,
            p.progress,
        )


@dataclass(frozen=True, kw_only=True)
class Dds(Diffusion):
    """Decomposed diffusion sampling (Chung et al. 2024)."""

    title: ClassVar[str] = "DDS"
    needs_noise: ClassVar[bool] = True
    comparison_only: ClassVar[bool] = True
    name: Literal["dds"] = "dds"
    variance: float = number(
        0.1, "of the error that D(x) is taken to have at every level", "r²", gt=0, le=1e6
    )
    eta: float = number(0.85, "share of fresh noise", "η", ge=0, le=1)
    inner: int = number(5, "M, steps of conjugate gradients", "M", ge=1, le=10_000)

    @property
    def products(self) -> int:
        return self.steps * self.inner

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        weight = p.tilt_noise**2 / self.variance
        return samplers.dds(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.sigmas,
            weight,
            self.eta,
            self.inner,
            p.progress,
        )


@dataclass(frozen=True, kw_only=True)
class PiGdm(Diffusion):
    """Pseudoinverse-guided diffusion (Song et al. 2023); a gradient at each level."""

    title: ClassVar[str] = "ΠGDM"
    spectral: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True
    comparison_only: ClassVar[bool] = True
    name: Literal["pigdm"] = "pigdm"
    eta: float = number(1.0, "share of fresh noise", "η", ge=0, le=1)

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        assert isinstance(p.projector, Spectral)  # see `spectral`
        return guidance.pigdm(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.sigmas,
            p.tilt_noise,
            self.eta,
            p.progress,
        )


@dataclass(frozen=True, kw_only=True)
class RedDiff(Diffusion):
    """Regularisation by denoising diffusion (Mardani et al. 2024), from a Tikhonov solution."""

    title: ClassVar[str] = "RED-diff"
    needs_noise: ClassVar[bool] = True
    comparison_only: ClassVar[bool] = True
    name: Literal["red_diff"] = "red_diff"
    weight: float = number(0.25, "of the prior", "λ", gt=0, le=1e6)
    rate: float = number(0.1, "of Adam", "rate", gt=0, le=10)

    @property
    def products(self) -> int:
        return self.steps

    def solve(self, problem: Problem) -> Tensor:
        p, g = problem, problem.projector.geometry
        like = p.y.new_zeros(len(p.y), g.thickness, g.width)
        start = tikhonov(p.projector.proximal(p.y), like, p.tilt_noise)
        return samplers.red_diff(
            p.projector,
            p.y,
            p.denoise,
            p.noise,
            self.sigmas,
            p.tilt_noise,
            self.weight,
            self.rate,
            start,
            p.progress,
        )


@dataclass(frozen=True, kw_only=True)
class Daps(Diffusion):
    """Decoupled annealing posterior sampling (Zhang et al. 2025)."""

    title: ClassVar[str] = "DAPS"
    spectral: ClassVar[bool] = True
    needs_basis: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True
    comparison_only: ClassVar[bool] = True
    name: Literal["daps"] = "daps"
    steps: int = number(20, "N, draws given the data", "N", ge=1, le=100_000)
    inner: int = number(2, "M, steps of the flow before each; M N evaluations", "M", ge=1, le=100)

    @property
    def levels(self) -> list[tuple[float, ...]]:
        """Noise levels of each flow, down to 0."""
        firsts = log_linear(*self.sigma, self.steps)
        return [(*log_linear(s, s / 2, self.inner), 0.0) for s in firsts]

    @property
    def sigmas(self) -> tuple[float, ...]:
        return tuple(sigma for flow in self.levels for sigma in flow[:-1])

    @property
    def draws(self) -> int:
        return 2 * self.steps - 1

    def solve(self, problem: Problem) -> Tensor:
        p = problem
        check_basis(p.projector, self.name)
        return samplers.daps(
            p.projector, p.y, p.denoise, p.noise, self.levels, p.tilt_noise, p.progress
        )
