"""The methods that are compared: the paper's with its settings, classical ones, and ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ddgm_core import least_squares, samplers
from ddgm_core.denoiser import Denoiser
from ddgm_core.projectors import Projector, Spectral
from ddgm_core.schedules import annealed, geometric

STEP = 1.42  # λ ‖A‖₂²: the paper's 9e-5 at 128 × 128
BETA = 0.5  # paper, section 3.1


@dataclass(frozen=True)
class Problem:
    """What a method is given: measurements of a batch of slices, and the means to solve them.

    Attributes:
        projector: A; a `Spectral` where a method needs the singular values.
        y: sinograms, (B, views, bins).
        denoise: ε̂, the prior, through which gradients flow.
        noise: step n → ε_n, (B, thickness, width).
        tilt_noise: σ_y of y.
    """

    projector: Projector
    y: Tensor
    denoise: Denoiser
    noise: Callable[[int], Tensor]
    tilt_noise: float

    @property
    def step(self) -> float:
        """λ of gradient steps."""
        return STEP / self.projector.norm**2


Solve = Callable[[Problem], Tensor]


@dataclass(frozen=True)
class Method:
    """A method with its numbers.

    Attributes:
        title: for the table.
        solve: problem → slices, (B, thickness, width).
        networks: network evaluations a slice.
        gradients: products with AᵀA a slice; None where it works with singular values.
        settings: for the table.
        paper: MSE and SSIM in the paper's Table 1.
        spectral: whether it needs a projector with singular values.
    """

    title: str
    solve: Solve
    networks: int = 0
    gradients: int | None = None
    settings: str = ""
    paper: tuple[float, float] | None = None
    spectral: bool = False


def fbp() -> Method:
    return Method(
        "Filtered back-projection",
        lambda p: least_squares.filtered_back_projection(p.projector, p.y),
        gradients=1,
        settings="Hann window",
    )


def cgls(count: int) -> Method:
    return Method(
        "CGLS",
        lambda p: least_squares.cgls(p.projector, p.y, count),
        gradients=count,
        settings=f"{count} steps",
    )


def gradient_descent(count: int, paper: tuple[float, float] | None = None) -> Method:
    return Method(
        "Gradient descent",
        lambda p: least_squares.gradient_descent(p.projector, p.y, p.step, count),
        gradients=count,
        settings=f"K = {count}",
        paper=paper,
    )


def ddgm(
    steps: int, count: int, first: float = 3.0, paper: tuple[float, float] | None = None
) -> Method:
    sigmas = geometric(first, 0.03, steps)
    return Method(
        "DDGM",
        lambda p: samplers.ddgm(p.projector, p.y, p.denoise, p.noise, sigmas, p.step, count),
        steps,
        steps * count,
        f"N = {steps}, K = {count}, σ₁ = {first:g}",
        paper,
    )


def ddx(steps: int, rho: float, first: float = 3.0) -> Method:
    sigmas = geometric(first, 0.03, steps)
    return Method(
        "DDX (ours)",
        lambda p: samplers.ddx(p.projector, p.y, p.denoise, p.noise, sigmas, p.tilt_noise, rho),
        steps,
        None,
        f"N = {steps}, ρ = {rho:g}, σ₁ = {first:g}",
    )


def ddrm(steps: int, eta: float = 1.0, paper: tuple[float, float] | None = None) -> Method:
    sigmas = geometric(30.0, 0.03, steps)

    def solve(p: Problem) -> Tensor:
        assert isinstance(p.projector, Spectral)  # see `spectral`
        return samplers.ddrm(p.projector, p.y, p.denoise, p.noise, sigmas, p.tilt_noise, eta)

    return Method(
        "DDRM", solve, steps, None, f"N = {steps}, η = {eta:g}, η_b = 1", paper, spectral=True
    )


def dps(
    steps: int, zeta: float, first: float = 3.0, paper: tuple[float, float] | None = None
) -> Method:
    sigmas = geometric(first, 0.03, steps)
    alpha = annealed(first, 0.03, steps, BETA)
    return Method(
        "DPS*",
        lambda p: samplers.dps(p.projector, p.y, p.denoise, p.noise, sigmas, alpha, BETA, zeta),
        steps,
        steps,
        f"N = {steps}, ζ = {zeta:g}, σ₁ = {first:g}, β = {BETA:g}",
        paper,
    )


METHODS: dict[str, Method] = {
    "fbp": fbp(),
    "cgls": cgls(10),
    "gradient-descent": gradient_descent(100, paper=(0.23, 0.51)),
    "ddrm-10": ddrm(10, paper=(0.18, 0.55)),
    "ddrm-50": ddrm(50, paper=(0.20, 0.53)),
    "dps-50": dps(50, 0.1, paper=(0.35, 0.34)),
    "dps-1000": dps(1000, 0.1, paper=(0.20, 0.54)),
    "ddgm-50": ddgm(50, 25, paper=(0.14, 0.62)),
    "ddgm-150": ddgm(150, 15, paper=(0.13, 0.64)),
    "ddx-10": ddx(10, 5.0, 1.0),
    "ddx-20": ddx(20, 5.0),
    "ddx-50": ddx(50, 5.0),
}
