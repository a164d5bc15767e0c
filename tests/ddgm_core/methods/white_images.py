"""A dense operator of a few pixels, and white images, whose posterior is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.schedules import log_linear
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import DataStep, ProximalStep
from ddgm.core.projectors.astra_matrix import projection_matrix

SIDE = 6
PIXELS = SIDE * SIDE
GEOMETRY = TiltGeometry.uniform(SIDE, SIDE, 5)
SIGMAS = log_linear(3.0, 0.03, 6)
SAMPLES = 20_000
TILT_NOISE = 0.5
WIDE = 1.5  # the prior's standard deviation, white, around 0


@cache
def matrix(geometry: TiltGeometry) -> Tensor:
    return torch.from_numpy(projection_matrix(geometry).toarray()).double()


@cache
def basis(geometry: TiltGeometry) -> tuple[Tensor, Tensor]:
    """Singular values and right singular vectors."""
    squares, v = torch.linalg.eigh(matrix(geometry).T @ matrix(geometry))
    return squares.clamp_min(0).sqrt(), v


@dataclass(frozen=True)
class Dense:
    """ASTRA's matrix and its SVD by numpy, in float64: the oracle's projector."""

    geometry: TiltGeometry = GEOMETRY

    @property
    def a(self) -> Tensor:
        return matrix(self.geometry)

    @property
    def norm(self) -> float:
        return float(torch.linalg.matrix_norm(self.a, 2))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.a.T).reshape(len(x), self.geometry.views, self.geometry.bins)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.a).reshape(len(y), SIDE, SIDE)

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        raise AssertionError("none of these methods takes gradient steps")

    def proximal(self, y: Tensor) -> ProximalStep:
        def solve(x: Tensor, mu: float) -> Tensor:
            normal = self.a.T @ self.a + mu * torch.eye(PIXELS)
            right = (self.adjoint(y) + mu * x).flatten(1)
            return torch.linalg.solve(normal, right.T).T.reshape(x.shape)

        return solve

    @property
    def svd(self) -> tuple[Tensor, Tensor]:
        return basis(self.geometry)

    @property
    def singular_values(self) -> Tensor:
        return self.svd[0]

    def coefficients(self, x: Tensor) -> Tensor:
        return x.flatten(1).to(torch.float64) @ self.svd[1]

    def slices(self, coefficients: Tensor) -> Tensor:
        return (coefficients @ self.svd[1].T).reshape(-1, SIDE, SIDE)

    def data_coefficients(self, y: Tensor) -> Tensor:
        return self.coefficients(self.adjoint(y))


def white_denoiser(sigmas: tuple[float, ...]) -> Denoiser:
    """The exact E[ε | x + σε] of white images of standard deviation `WIDE`, σ by σ."""
    each = iter(sigmas)

    def denoise(x: Tensor) -> Tensor:
        sigma = next(each)
        return x * sigma / (WIDE**2 + sigma**2)

    return denoise


def drawn(count: int) -> Callable[[int], Tensor]:
    def noise(n: int) -> Tensor:
        generator = torch.Generator().manual_seed(100 + n)
        return torch.randn(count, SIDE, SIDE, generator=generator, dtype=torch.float64)

    return noise


def tilts() -> Tensor:
    """A sinogram without noise, (1, views, bins)."""
    truth = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()
    return Dense().forward(WIDE * truth)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every coefficient of A's basis over samples."""
    c = Dense().coefficients(x)
    return c.mean(0), c.var(0)


def agree(x: Tensor, mean: np.ndarray, variance: np.ndarray) -> None:
    """Within five standard errors, coefficient by coefficient."""
    got_mean, got_variance = moments(x)
    error = np.sqrt(variance / len(x)) + 1e-9
    assert (np.abs(got_mean.numpy() - mean) < 5 * error).all()
    assert np.allclose(got_variance.numpy(), variance, rtol=5 * (2 / len(x)) ** 0.5, atol=1e-9)
