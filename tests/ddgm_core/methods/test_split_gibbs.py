"""Split Gibbs sampling draws from the posterior, where that is known: of a Gaussian prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.method import MethodError, Problem
from ddgm.core.methods.posterior import SplitGibbs
from ddgm.core.methods.split_gibbs import levels_of_rounds, reverse_step
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.projectors import FourierProjector, MatrixProjector
from ddgm.core.projectors.astra_matrix import projection_matrix
from ddgm.core.projectors.batched import BatchedProjector
from ddgm.core.projectors.dense import DenseProjector
from ddgm.core.projectors.protocol import BasisError
from ddgm.core.projectors.spectral import draws

SIDE = 4
PIXELS = SIDE * SIDE
GEOMETRY = TiltGeometry.uniform(SIDE, SIDE, 5)
TILT_NOISE = 0.5
MEAN = torch.linspace(-1, 1, PIXELS)
PLACE = np.indices((SIDE, SIDE)).reshape(2, -1).T
DISTANCE = np.linalg.norm(PLACE[:, None] - PLACE[None], axis=-1)
PRIOR = torch.from_numpy(np.exp(-DISTANCE)).float()  # covariance of a Gaussian random field
A = torch.from_numpy(projection_matrix(GEOMETRY).toarray()).float()
METHOD = SplitGibbs(steps=400, sigma=(3.0, 0.06), inner=1, depth=0.96)
TOLERANCE = 0.05


class SmallProjector(MatrixProjector):
    """A with its eigenbasis as one matrix: what `DenseProjector` does, quicker for few pixels."""

    def __init__(self) -> None:
        super().__init__(GEOMETRY)
        squares, self.v = torch.linalg.eigh(A.T @ A)
        self.singular_values = squares.clamp_min(0).sqrt()

    def coefficients(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.v

    def slices(self, coefficients: Tensor) -> Tensor:
        return slices(coefficients @ self.v.T)

    def data_coefficients(self, y: Tensor) -> Tensor:
        return y.flatten(1) @ A @ self.v


def gaussian_denoiser(sigmas: tuple[float, ...]) -> Denoiser:
    """The exact E[ε | x + σε] = σ (C + σ²)⁻¹ (x - m), σ by σ."""
    each = iter(sigmas)

    def denoise(x: Tensor) -> Tensor:
        sigma = next(each)
        inverse = torch.linalg.inv(PRIOR + sigma**2 * torch.eye(PIXELS))
        return ((x.flatten(1) - MEAN) @ (sigma * inverse)).reshape(x.shape)

    return denoise


def slices(rows: Tensor) -> Tensor:
    return rows.reshape(-1, SIDE, SIDE)


def drawn(count: int, seed: int) -> Callable[[int], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda n: torch.randn(count, SIDE, SIDE, generator=generator)


def tilts(truth: Tensor, seed: int) -> Tensor:
    clean = MatrixProjector(GEOMETRY).forward(truth)
    return clean + TILT_NOISE * torch.randn(
        clean.shape, generator=torch.Generator().manual_seed(seed)
    )


def truths(count: int, seed: int) -> Tensor:
    white = torch.randn(count, PIXELS, generator=torch.Generator().manual_seed(seed))
    return slices(MEAN + white @ torch.linalg.cholesky(PRIOR).T)


def solved(y: Tensor, noise: Callable[[int], Tensor], method: SplitGibbs = METHOD) -> Tensor:
    denoise = gaussian_denoiser(method.sigmas)
    return method.solve(Problem(SmallProjector(), y, denoise, noise, TILT_NOISE))


def posterior(y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of p(x | y): textbook formulas, in pixels."""
    covariance = torch.linalg.inv(torch.linalg.inv(PRIOR) + A.T @ A / TILT_NOISE**2)
    return MEAN + covariance @ A.T @ (y.flatten() - A @ MEAN) / TILT_NOISE**2, covariance


def test_mean_and_covariance_are_the_posteriors() -> None:
    """The chain is affine in its noise: what each pixel of each draw does makes the covariance."""
    y = tilts(truths(1, 1), 2)
    mean, covariance = posterior(y)
    base = solved(y, lambda n: torch.zeros(1, SIDE, SIDE))
    size = METHOD.draws * PIXELS
    unit = torch.zeros(size, SIDE, SIDE)

    def noise(n: int) -> Tensor:
        unit.zero_()[n * PIXELS : (n + 1) * PIXELS] = slices(torch.eye(PIXELS))
        return unit

    shifts = (solved(y.expand(size, -1, -1), noise) - base).flatten(1)
    found = shifts.T @ shifts
    norm = torch.linalg.norm
    assert norm(base.flatten() - mean) < TOLERANCE * norm(mean)
    assert norm(found - covariance) < TOLERANCE * norm(covariance)
    assert ((found / covariance).diagonal() - 1).abs().max() < TOLERANCE
    assert covariance.trace() < 0.3 * PRIOR.trace()  # the data say something, and not all


def test_ranks_of_the_truth_among_chains_are_even() -> None:
    """Simulation-based calibration (Talts et al. 2018): truth is like one more chain."""
    count, chains, bins = 600, 9, 10
    method = SplitGibbs(steps=800, sigma=(3.0, 0.05), inner=1, depth=0.96)
    truth = truths(count, 3)
    y = tilts(truth, 4)
    x = solved(y.repeat(chains, 1, 1), drawn(chains * count, 5), method)
    x = x.reshape(chains, count, SIDE, SIDE)
    for of in (
        lambda s: s[..., 1, 2],
        lambda s: s[..., 0, 0] - s[..., 0, 1],
        lambda s: s.mean((-1, -2)),
    ):
        rank = (of(x) < of(truth)).sum(0)
        seen = torch.bincount(rank, minlength=bins)
        chi_square = float((seen - count / bins).square().sum() / (count / bins))
        assert chi_square < 21.7  # the 99th percentile with 9 degrees of freedom


def test_a_draw_given_the_data_has_their_mean_and_covariance() -> None:
    """In pixels, by inverting AᵀA + μ; batches of a projector draw the same."""
    mu, x, y = 0.7, truths(1, 6), tilts(truths(1, 7), 8)
    projector = DenseProjector(GEOMETRY)
    covariance = torch.linalg.inv(A.T @ A + mu * torch.eye(PIXELS))
    mean = covariance @ (A.T @ y.flatten() + mu * x.flatten())
    basis, many = slices(torch.eye(PIXELS)), (y.expand(PIXELS, -1, -1), x.expand(PIXELS, -1, -1))
    for one in (projector, BatchedProjector(projector, 3)):
        found = draws(one, y)(x, mu, torch.zeros_like(x)).flatten()
        assert torch.allclose(found, mean, atol=1e-5)
        shifts = draws(one, many[0])(many[1], mu, basis).flatten(1) - found
        assert torch.allclose(shifts.T @ shifts, covariance, atol=1e-5)


def test_a_lateral_detector_draws_as_exactly_far_from_its_edges() -> None:
    geometry = TiltGeometry.uniform(6, 40, 5, detector="lateral")
    projector = FourierProjector(geometry)
    x = torch.zeros(1, 6, 40)
    y, mu, pixels = projector.forward(x), 0.7, 240
    a = projector.forward(torch.eye(pixels).reshape(pixels, 6, 40)).flatten(1).T
    exact = torch.linalg.inv(a.T @ a + mu * torch.eye(pixels)).diagonal().reshape(6, 40)
    basis = torch.eye(pixels).reshape(pixels, 6, 40)
    found = draws(projector, y.expand(pixels, -1, -1))(x.expand(pixels, -1, -1), mu, basis)
    ratio = found.square().sum(0) / exact
    assert torch.allclose(ratio[:, 10:-10], torch.ones(6, 20), atol=0.02)


def test_a_reverse_step_keeps_the_variance_of_noisy_images() -> None:
    """x₀ + σε becomes x₀ + σ'ε, whatever the variance of x₀ is beside σ²."""
    sigma, lower = 1.0, 0.8
    for variance in (1e-3, 0.3, 1.0, 3.0, 1e3):

        def denoise(x: Tensor, c: float = variance) -> Tensor:
            raised = (2 * sigma**2 - lower**2) ** 0.5
            return x * raised / (c + raised**2)

        one, none = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
        kept = float(reverse_step(denoise, one, sigma, lower, lambda: torch.zeros(1, 1, 1)))
        added = float(reverse_step(denoise, none, sigma, lower, lambda: torch.ones(1, 1, 1)))
        found = kept**2 * (variance + sigma**2) + added**2
        assert found == pytest.approx(variance + lower**2, rel=0.04)


def test_rounds_end_at_a_share_of_their_coupling_and_the_last_at_none() -> None:
    rounds = levels_of_rounds((2.0, 1.0, 0.4), 0.25, 2)
    assert [len(levels) for levels in rounds] == [3, 3, 3]
    assert rounds[0] == pytest.approx((2.0, 1.0, 0.5))
    assert rounds[2] == pytest.approx((0.4, 0.1, 0.0))


def test_it_asks_for_the_noise_that_it_says_and_tells_of_every_evaluation() -> None:
    method, asked, told, calls = (
        SplitGibbs(steps=3, inner=2, sigma=(1.0, 0.5), depth=0.25),
        [],
        [],
        count(),
    )

    def noise(n: int) -> Tensor:
        asked.append(n)
        return torch.zeros(1, SIDE, SIDE)

    def denoise(x: Tensor) -> Tensor:
        next(calls)
        return torch.zeros_like(x)

    y = tilts(truths(1, 1), 2)
    method.solve(
        Problem(
            DenseProjector(GEOMETRY),
            y,
            denoise,
            noise,
            TILT_NOISE,
            progress=lambda n, x: told.append(n),
        )
    )
    assert asked == list(range(method.draws))
    assert told == list(range(method.evaluations))
    assert next(calls) == 6
    assert max(method.sigmas) == pytest.approx(math.sqrt(2 - 0.25))  # above the first coupling


def test_a_projector_without_singular_vectors_is_refused() -> None:
    y = tilts(truths(1, 1), 2)
    for projector in (MatrixProjector(GEOMETRY), BatchedProjector(MatrixProjector(GEOMETRY), 2)):
        problem = Problem(projector, y, lambda x: x, drawn(1, 0), TILT_NOISE)
        with pytest.raises(BasisError, match=r"split_gibbs needs the singular vectors .* lateral"):
            SplitGibbs().solve(problem)


def test_a_depth_that_the_couplings_do_not_allow_is_refused() -> None:
    with pytest.raises(MethodError, match=r"depth: 0.5 must be below 0.316.* more steps"):
        SplitGibbs(steps=3, sigma=(1.0, 0.1), depth=0.5)
