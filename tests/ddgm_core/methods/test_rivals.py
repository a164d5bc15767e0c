"""Rivals do what their papers' equations say, on a dense operator and white images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.methods.rivals.guidance import pigdm
from ddgm.core.methods.rivals.methods import Daps
from ddgm.core.methods.rivals.samplers import daps, dds, red_diff
from ddgm.core.networks.denoiser import Denoiser
from tests.ddgm_core.methods.white_images import (
    PIXELS,
    SAMPLES,
    SIDE,
    SIGMAS,
    TILT_NOISE,
    WIDE,
    Dense,
    agree,
    drawn,
    tilts,
    white_denoiser,
)


@pytest.fixture(scope="module")
def y() -> Tensor:
    return tilts()


def moments_of(y: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """s, S Uᵀy and the exact mean given y of unit white images, in A's basis."""
    a = Dense()
    s, data = a.singular_values.numpy(), a.data_coefficients(y)[0].numpy()
    return s, data, data / (s**2 + TILT_NOISE**2)


@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_dds_is_its_affine_recursion(y: Tensor, eta: float) -> None:
    """Conjugate gradients to their end are the proximal step; then DDIM's."""
    s, data, _ = moments_of(y)
    weight, keep = 0.7, 0.0
    mean, variance = np.zeros(PIXELS), np.full(PIXELS, SIGMAS[0] ** 2)
    for sigma, lower in pairwise((*SIGMAS, 0.0)):
        keep = WIDE**2 / (WIDE**2 + sigma**2)
        gain = weight * keep / (s**2 + weight)  # of z by x
        shift, left = data / (s**2 + weight), lower * (1 - eta**2) ** 0.5
        slope = gain + left * (1 - keep) / sigma
        mean, variance = slope * mean + shift, slope**2 * variance + (eta * lower) ** 2
    many = y.expand(2000, -1, -1)
    x = dds(Dense(), many, white_denoiser(SIGMAS), drawn(2000), SIGMAS, weight, eta, PIXELS)
    agree(x, mean, variance)


def test_pigdm_ends_at_the_posteriors_mean_of_the_images_that_it_is_exact_for(y: Tensor) -> None:
    """With one noise level, x̂ is the mean given y and the noise that it begins with."""
    s, data, _ = moments_of(y)
    sigma = 2.0
    r2 = sigma**2 / (sigma**2 + 1)
    start = drawn(4)(0)

    def denoise(x: Tensor) -> Tensor:
        return x * sigma / (1 + sigma**2)

    found = pigdm(Dense(), y.expand(4, -1, -1), denoise, drawn(4), (sigma,), TILT_NOISE, 1.0)
    noisy = Dense().coefficients(sigma * start).numpy()
    precision = 1 + 1 / sigma**2 + s**2 / TILT_NOISE**2
    mean = (noisy / sigma**2 + data / TILT_NOISE**2) / precision
    assert np.allclose(Dense().coefficients(found).numpy(), mean, atol=1e-9)
    assert r2 == pytest.approx(1 / (1 + 1 / sigma**2))


def test_pigdms_pull_goes_back_through_the_network(y: Tensor) -> None:
    """Against the Jacobian of a denoiser that bends, as a matrix."""
    sigma, a = 0.8, Dense()
    x = sigma * drawn(1)(0)

    def guess(flat: Tensor) -> Tensor:
        return flat - sigma * torch.tanh(flat) * flat.std()

    def denoise(x: Tensor) -> Tensor:
        return torch.tanh(x) * x.std()

    jacobian = torch.autograd.functional.jacobian(guess, x.flatten())
    r2 = sigma**2 / (sigma**2 + 1)
    gram = r2 * a.a @ a.a.T + TILT_NOISE**2 * torch.eye(len(a.a))
    left = y.flatten() - a.a @ guess(x.flatten())
    wanted = guess(x.flatten()) + sigma**2 * jacobian.T @ a.a.T @ torch.linalg.solve(gram, left)
    found = pigdm(a, y, denoise, drawn(1), (sigma,), TILT_NOISE, 1.0)
    assert torch.allclose(found.flatten(), wanted, atol=1e-9)
    assert not found.requires_grad


def test_red_diff_is_adam_on_its_loss(y: Tensor) -> None:
    a, weight, rate, noise = Dense(), 0.3, 0.05, drawn(1)

    def denoise(x: Tensor) -> Tensor:
        return torch.tanh(x) / 2

    x = torch.zeros(1, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([x], rate, betas=(0.9, 0.99))
    for n, sigma in enumerate(SIGMAS):
        with torch.no_grad():
            surprise = denoise((x + sigma * noise(n))[:, None])[:, 0] - noise(n)
        adam.zero_grad()
        data = ((a.forward(x) - y) ** 2).sum() / (2 * TILT_NOISE**2)
        (data + weight * sigma * (surprise * x).sum()).backward()
        adam.step()
    start = torch.zeros(1, SIDE, SIDE, dtype=torch.float64)
    found = red_diff(a, y, denoise, noise, SIGMAS, TILT_NOISE, weight, rate, start)
    assert torch.allclose(found, x.detach(), atol=1e-12)
    assert not start.any(), "the start is the caller's"


def test_daps_is_its_affine_recursion(y: Tensor) -> None:
    """In each direction: the flow shrinks, the draw given the data, and the next level's noise."""
    s, data, _ = moments_of(y)
    method = Daps(steps=5, sigma=(3.0, 0.3), inner=3)
    levels = method.levels
    assert [flow[0] for flow in levels] == pytest.approx([3 * 0.1 ** (n / 4) for n in range(5)])
    assert all(len(flow) == 4 and flow[-1] == 0 for flow in levels)
    mean, variance = np.zeros(PIXELS), np.full(PIXELS, levels[0][0] ** 2)
    for n, flow in enumerate(levels):
        slope = 1.0
        for sigma, lower in pairwise(flow):
            slope *= 1 - (sigma - lower) * sigma / (WIDE**2 + sigma**2)
        precision = s**2 / TILT_NOISE**2 + 1 / flow[0] ** 2
        gain = slope / flow[0] ** 2 / precision
        mean, variance = gain * mean + data / TILT_NOISE**2 / precision, gain**2 * variance
        if n + 1 < len(levels):
            variance = variance + 1 / precision + levels[n + 1][0] ** 2
    many = y.expand(SAMPLES, -1, -1)
    told: list[int] = []
    x = daps(
        Dense(),
        many,
        white_denoiser(method.sigmas),
        drawn(SAMPLES),
        levels,
        TILT_NOISE,
        lambda n, _: told.append(n),
    )
    agree(x, mean, variance)
    assert told == list(range(method.evaluations))


@pytest.mark.parametrize("method", ["dds", "pigdm", "red_diff"])
def test_progress_is_told_of_every_level(y: Tensor, method: str) -> None:
    told: list[int] = []
    last: list[Tensor] = []

    def progress(n: int, x: Tensor) -> None:
        told.append(n)
        last.append(x.detach().clone())

    denoise: Denoiser = white_denoiser(SIGMAS)
    solve: dict[str, Callable[[], Tensor]] = {
        "dds": lambda: dds(
            Dense(), y, denoise, drawn(1), SIGMAS, 1.0, 0.85, 5, progress
        ),
        "pigdm": lambda: pigdm(
            Dense(), y, denoise, drawn(1), SIGMAS, TILT_NOISE, 1.0, progress
        ),
        "red_diff": lambda: red_diff(
            Dense(), y, denoise, drawn(1), SIGMAS, TILT_NOISE, 0.2, 0.1,
            torch.zeros(1, SIDE, SIDE, dtype=torch.float64), progress,
        ),
    }  # fmt: skip
    found = solve[method]()
    assert told == list(range(len(SIGMAS)))
    assert torch.equal(last[-1], found)
