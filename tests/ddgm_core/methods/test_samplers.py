"""DDGM is Algorithm 1, and generation Eq. 2: to their order of operations and distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.samplers import ddgm, generate
from ddgm.core.methods.schedules import eq2_levels, log_linear
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import DataStep, MatrixProjector, ProximalStep, StepError
from ddgm.core.projectors.astra_matrix import projection_matrix

SIDE = 8
PIXELS = SIDE * SIDE
GEOMETRY = TiltGeometry.uniform(SIDE, SIDE, 5)
SIGMAS = log_linear(3.0, 0.03, 6)
STEPS = 3
SAMPLES = 8192
MEAN = np.linspace(-1, 1, PIXELS)
PLACE = np.indices((SIDE, SIDE)).reshape(2, -1).T
DISTANCE = np.linalg.norm(PLACE[:, None] - PLACE[None], axis=-1)
PRIOR = np.exp(-DISTANCE / 3)  # covariance of a stationary Gaussian random field


class Recorder:
    """A projector whose descent is x → 2x + 1, and a diary of who was called with what."""

    geometry = GEOMETRY
    norm = 1.0

    def __init__(self) -> None:
        self.diary: list[tuple[str, float]] = []

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("a sampler needs no more than gradient steps")

    def adjoint(self, y: Tensor) -> Tensor:
        raise AssertionError("a sampler needs no more than gradient steps")

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        self.diary.append((f"prepare {step} {count}", float(y.mean())))

        def descend(x: Tensor) -> Tensor:
            self.diary.append(("descend", float(x.mean())))
            return 2 * x + 1

        return descend

    def proximal(self, y: Tensor) -> ProximalStep:
        raise AssertionError("a sampler needs no more than gradient steps")

    def denoise(self, x: Tensor) -> Tensor:
        assert x.shape == (2, 1, SIDE, SIDE)
        self.diary.append(("denoise", float(x.mean())))
        return x / 4

    def noise(self, n: int) -> Tensor:
        self.diary.append((f"noise {n}", 0.0))
        return torch.full((2, SIDE, SIDE), 10.0 + n)

    def progress(self, n: int, x: Tensor) -> None:
        self.diary.append((f"progress {n}", float(x.mean())))


def gaussian_denoiser(sigmas: tuple[float, ...]) -> Denoiser:
    """The exact E[ε | x + σε] = σ (C + σ²)⁻¹ (x - m) of a Gaussian prior, σ by σ."""

    def maps() -> Iterator[Tensor]:
        for sigma in sigmas:
            inverse = np.linalg.inv(PRIOR + sigma**2 * np.eye(PIXELS))
            yield torch.from_numpy(sigma * inverse).float()

    each, mean = maps(), torch.from_numpy(MEAN).float()

    def denoise(x: Tensor) -> Tensor:
        return ((x.flatten(1) - mean) @ next(each)).reshape(x.shape)

    return denoise


def closed_form(y: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of what comes out, in float64: each noise level is an affine map."""
    a = projection_matrix(GEOMETRY).toarray().astype(np.float64)
    descend = np.eye(PIXELS) - step * a.T @ a
    mean, covariance = np.zeros(PIXELS), np.zeros((PIXELS, PIXELS))
    for sigma in SIGMAS:
        for _ in range(STEPS):
            mean = descend @ mean + step * a.T @ y
            covariance = descend @ covariance @ descend
        covariance = covariance + sigma**2 * np.eye(PIXELS)
        keep = PRIOR @ np.linalg.inv(PRIOR + sigma**2 * np.eye(PIXELS))
        mean = keep @ mean + (np.eye(PIXELS) - keep) @ MEAN
        covariance = keep @ covariance @ keep.T
    return mean, covariance


def solved(noise: Callable[[int], Tensor], count: int) -> np.ndarray:
    """DDGM of one sinogram, `count` times in one batch, (count, PIXELS)."""
    a = MatrixProjector(GEOMETRY)
    y, step = sinogram(), 1.42 / a.norm**2
    batch = y.expand(count, -1, -1).contiguous()
    return ddgm(a, batch, gaussian_denoiser(SIGMAS), noise, SIGMAS, step, STEPS).flatten(1).numpy()


def sinogram() -> Tensor:
    truth = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return MatrixProjector(GEOMETRY).forward(truth)


@pytest.fixture(scope="module")
def expected() -> tuple[np.ndarray, np.ndarray]:
    step = 1.42 / MatrixProjector(GEOMETRY).norm ** 2
    return closed_form(sinogram().double().numpy().ravel(), step)


def test_it_reads_as_algorithm_1() -> None:
    """From zero, at each level: descend, add noise, denoise, report; nothing else, N times."""
    r, sigmas = Recorder(), (2.0, 1.0, 0.5)
    y = torch.full((2, GEOMETRY.views, GEOMETRY.bins), 7.0)
    result = ddgm(r, y, r.denoise, r.noise, sigmas, 0.125, 25, r.progress)
    diary, x = [("prepare 0.125 25", 7.0)], 0.0
    for n, sigma in enumerate(sigmas):
        diary += [("descend", x), (f"noise {n}", 0.0)]
        noisy = 2 * x + 1 + sigma * (10 + n)
        x = noisy - sigma * noisy / 4
        diary += [("denoise", noisy), (f"progress {n}", x)]
    assert r.diary == diary
    assert result.shape == (2, SIDE, SIDE)
    assert torch.equal(result, torch.full_like(result, x))


def test_progress_may_be_left_out() -> None:
    r = Recorder()
    y = torch.zeros(2, GEOMETRY.views, GEOMETRY.bins)
    ddgm(r, y, r.denoise, r.noise, (1.0,), 0.1, 1)
    assert [what for what, _ in r.diary] == ["prepare 0.1 1", "descend", "noise 0", "denoise"]


def test_a_diverging_step_is_refused_before_anything_runs() -> None:
    a, r = MatrixProjector(GEOMETRY), Recorder()
    with pytest.raises(StepError):
        ddgm(a, sinogram(), r.denoise, r.noise, SIGMAS, 2.1 / a.norm**2, STEPS)
    assert r.diary == []


def test_mean_of_a_gaussian_prior_is_the_closed_form(
    expected: tuple[np.ndarray, np.ndarray],
) -> None:
    mean = solved(lambda n: torch.zeros(1, SIDE, SIDE), 1)[0]
    assert np.abs(mean - expected[0]).max() < 1e-3 * np.abs(expected[0]).max()


def test_covariance_of_a_gaussian_prior_is_the_closed_form(
    expected: tuple[np.ndarray, np.ndarray],
) -> None:
    """Σ_n J_n J_nᵀ, where J_n is what unit noise in each pixel at level n does to the result."""
    base = solved(lambda n: torch.zeros(1, SIDE, SIDE), 1)
    basis = torch.eye(PIXELS).reshape(PIXELS, SIDE, SIDE)
    covariance = np.zeros((PIXELS, PIXELS))
    for level in range(len(SIGMAS)):
        jacobian = solved(lambda n, k=level: basis * (n == k), PIXELS) - base
        covariance += jacobian.T.astype(np.float64) @ jacobian
    assert np.abs(covariance - expected[1]).max() < 1e-3 * expected[1].max()


def test_samples_of_a_gaussian_prior_scatter_as_they_should(
    expected: tuple[np.ndarray, np.ndarray],
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = solved(lambda n: torch.randn(SAMPLES, SIDE, SIDE, generator=generator), SAMPLES)
    mean, covariance = expected
    deviation = covariance.diagonal() ** 0.5
    assert (np.abs(x.mean(axis=0) - mean) < 5 * deviation / SAMPLES**0.5).all()
    limit = 6 * np.outer(deviation, deviation) * (2 / SAMPLES) ** 0.5
    assert (np.abs(np.cov(x.T) - covariance) < limit).all()


def test_generation_reads_as_equation_2() -> None:
    """From noise alone, at each level: denoise by α, add √(αβ) of fresh noise, report; N times."""
    r, sigmas, alpha, beta = Recorder(), (2.0, 1.0, 0.5), 0.2, 0.8
    result = generate(r.denoise, r.noise, sigmas, alpha, beta, r.progress)
    diary: list[tuple[str, float]] = [("noise 0", 0.0)]
    x = sigmas[0] * 10.0
    for n, sigma in enumerate(sigmas):
        diary += [("denoise", x), (f"noise {n + 1}", 0.0)]
        x = x - alpha * sigma * x / 4 + (alpha * beta) ** 0.5 * sigma * (11.0 + n)
        diary.append((f"progress {n}", x))
    assert [what for what, _ in r.diary] == [what for what, _ in diary]
    assert [value for _, value in r.diary] == pytest.approx([value for _, value in diary])
    assert result.shape == (2, SIDE, SIDE)
    assert torch.allclose(result, torch.full_like(result, x))


def test_generation_of_a_gaussian_prior_has_the_mean_and_variance_of_its_recursion() -> None:
    """White N(m, s²): ε̂ = σ (x - m) / (s² + σ²), so each step is affine in x."""
    alpha, beta, m, s = 0.183, 0.5, 0.7, 0.4
    sigmas = eq2_levels(30.0, alpha, beta, 50)
    levels = iter(sigmas)

    def denoise(x: Tensor) -> Tensor:
        sigma = next(levels)
        return sigma * (x - m) / (s**2 + sigma**2)

    generator = torch.Generator().manual_seed(0)
    x = generate(
        denoise, lambda n: torch.randn(4, 64, 64, generator=generator), sigmas, alpha, beta
    )
    mean, variance = 0.0, sigmas[0] ** 2
    for sigma in sigmas:
        keep = 1 - alpha * sigma**2 / (s**2 + sigma**2)
        mean = keep * (mean - m) + m
        variance = keep**2 * variance + alpha * beta * sigma**2
    assert float(x.mean()) == pytest.approx(mean, abs=5 * (variance / x.numel()) ** 0.5)
    assert float(x.var()) == pytest.approx(variance, rel=5 * (2 / x.numel()) ** 0.5)
    # and the recursion ends near the prior: what Eq. 2 is for
    assert mean == pytest.approx(m, abs=0.05)
    assert variance**0.5 == pytest.approx(s, rel=0.1)
