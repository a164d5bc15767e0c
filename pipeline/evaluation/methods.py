"""The methods that are compared: the paper's with its settings, classical ones, and ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ddgm.core.errors import DdgmError
from ddgm.core.methods import least_squares, samplers
from ddgm.core.methods.schedules import annealed, log_linear
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import Projector, Spectral
from ddgm.pipeline.evaluation import deepinv as deepinv_diffpir

STEP = 1.42  # λ ‖A‖₂²: the paper's 9e-5 at 128 × 128
LAST = 0.03  # σ_N
BETA = 0.5  # paper, section 3.1


class MethodError(DdgmError):
    """A method that there is not, or values that it cannot have."""


@dataclass(frozen=True)
class Problem:
    """The problem that a method solves: a batch of sinograms, with projector and denoiser.

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
        spectral: whether it needs a projector with singular values.
        sigmas: its first and last noise level, where it has any.
    """

    title: str
    solve: Solve
    networks: int = 0
    gradients: int | None = None
    settings: str = ""
    spectral: bool = False
    sigmas: tuple[float, float] | None = None


def fbp() -> Method:
    return Method(
        "Filtered back-projection",
        lambda p: least_squares.filtered_back_projection(p.projector, p.y),
        gradients=1,
        settings="Hann window",
    )


def cgls(count: int = 10) -> Method:
    return Method(
        "CGLS",
        lambda p: least_squares.cgls(p.projector, p.y, count),
        gradients=count,
        settings=f"{count} steps",
    )


def gradient_descent(count: int = 100) -> Method:
    return Method(
        "Gradient descent",
        lambda p: least_squares.gradient_descent(p.projector, p.y, p.step, count),
        gradients=count,
        settings=f"K = {count}",
    )


def ddgm(steps: int = 50, count: int = 25, sigma: float = 3.0) -> Method:
    sigmas = log_linear(sigma, LAST, steps)
    return Method(
        "DDGM",
        lambda p: samplers.ddgm(p.projector, p.y, p.denoise, p.noise, sigmas, p.step, count),
        steps,
        steps * count,
        f"N = {steps}, K = {count}, σ₁ = {sigma:g}",
        sigmas=(sigma, LAST),
    )


def ddx(
    steps: int = 10, rho: float = 15.0, kappa: float = 2.0, sigma: float = 2.0, last: float = 0.1
) -> Method:
    sigmas = log_linear(sigma, last, steps)

    def solve(p: Problem) -> Tensor:
        a, noise, y = p.projector, p.tilt_noise, p.y
        return samplers.ddx(a, y, p.denoise, p.noise, sigmas, noise, rho, kappa)

    settings = f"N = {steps}, ρ = {rho:g}, κ = {kappa:g}, σ₁ = {sigma:g}, σ_N = {last:g}"
    return Method("DDX (ours)", solve, steps, None, settings, spectral=True, sigmas=(sigma, last))


def ddrm(steps: int = 10, eta: float = 1.0) -> Method:
    sigmas = log_linear(30.0, LAST, steps)

    def solve(p: Problem) -> Tensor:
        assert isinstance(p.projector, Spectral)  # see `spectral`
        return samplers.ddrm(p.projector, p.y, p.denoise, p.noise, sigmas, p.tilt_noise, eta)

    settings = f"N = {steps}, η = {eta:g}, η_b = 1"
    return Method("DDRM", solve, steps, None, settings, spectral=True, sigmas=(30.0, LAST))


def dps(steps: int = 50, zeta: float = 0.1, sigma: float = 3.0) -> Method:
    sigmas = log_linear(sigma, LAST, steps)
    alpha = annealed(sigma, LAST, steps, BETA)
    return Method(
        "DPS*",
        lambda p: samplers.dps(p.projector, p.y, p.denoise, p.noise, sigmas, alpha, BETA, zeta),
        steps,
        steps,
        f"N = {steps}, ζ = {zeta:g}, σ₁ = {sigma:g}, β = {BETA:g}",
        sigmas=(sigma, LAST),
    )


def diffpir(steps: int = 50, zeta: float = 0.3, lam: float = 7.0) -> Method:
    return Method(
        "DiffPIR (deepinv)",
        lambda p: deepinv_diffpir.solve(
            p.projector, p.y, p.denoise, p.tilt_noise, steps, zeta, lam
        ),
        steps,
        None,
        f"N = {steps}, ζ = {zeta:g}, λ = {lam:g}",
    )


FAMILIES: dict[str, Callable[..., Method]] = {
    f.__name__.replace("_", "-"): f
    for f in (fbp, cgls, gradient_descent, ddgm, ddx, ddrm, dps, diffpir)
}


@dataclass(frozen=True)
class Setting:
    """A family of methods with values for some of its parameters; the others have defaults.

    Attributes:
        family: of `FAMILIES`.
        values: parameter and value, sorted.
    """

    family: str
    values: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Setting:
        """From `ddgm-50`, of `METHODS`, or `ddgm:steps=50:count=25`.

        Raises:
            MethodError: there is no such method, or a parameter or value that it cannot have.
        """
        name, *parts = text.split(":")
        setting = METHODS.get(name) or cls(name)
        if setting.family not in FAMILIES:
            raise MethodError(
                f"method: {name!r} is none; choose of {', '.join(METHODS)}, or give values as in "
                "ddgm:steps=50:count=25"
            )
        for part in parts:
            key, _, value = part.partition("=")
            setting = setting.given(key, value)
        return setting

    def given(self, name: str, text: str) -> Setting:
        """Return a copy with one more value, read from text.

        Raises:
            MethodError: the family has no such parameter, or it cannot have that value.
        """
        known = inspect.signature(FAMILIES[self.family]).parameters
        if name not in known:
            has = ", ".join(known) or "none"
            raise MethodError(f"method: {self.family} has no parameter {name!r}; it has {has}")
        kind = type(known[name].default)
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not 0 < value < float("inf"):
            what = "a whole number" if kind is int else "a number"
            raise MethodError(f"method: {self.family}:{name}={text} must be {what} above 0")
        return replace(self, values=tuple(sorted({**dict(self.values), name: value}.items())))

    @property
    def method(self) -> Method:
        """The method that this setting names."""
        return FAMILIES[self.family](**dict(self.values))

    def __str__(self) -> str:
        return ":".join([self.family, *(f"{k}={v:g}" for k, v in self.values)])


def _set(family: str, **values: Any) -> Setting:
    return Setting(family, tuple(sorted(values.items())))


METHODS: dict[str, Setting] = {
    "fbp": _set("fbp"),
    "cgls": _set("cgls", count=10),
    "gradient-descent": _set("gradient-descent", count=100),
    "ddrm-10": _set("ddrm", steps=10, eta=1.0),
    "ddrm-50": _set("ddrm", steps=50, eta=1.0),
    "dps-50": _set("dps", steps=50, zeta=0.1),
    "dps-1000": _set("dps", steps=1000, zeta=0.1),
    "diffpir-50": _set("diffpir", steps=50),
    "ddgm-50": _set("ddgm", steps=50, count=25),
    "ddgm-150": _set("ddgm", steps=150, count=15),
    "ddx-5": _set("ddx", steps=5),
    "ddx-10": _set("ddx", steps=10),
    "ddx-20": _set("ddx", steps=20, rho=10.0),  # smaller steps leave smaller errors
    "ddx-50": _set("ddx", steps=50, rho=5.0),
}

PAPER: dict[str, tuple[float, float]] = {  # Table 1: MSE, SSIM
    "gradient-descent": (0.23, 0.51),
    "ddrm-10": (0.18, 0.55),
    "ddrm-50": (0.20, 0.53),
    "dps-50": (0.35, 0.34),
    "dps-1000": (0.20, 0.54),
    "ddgm-50": (0.14, 0.62),
    "ddgm-150": (0.13, 0.64),
}
