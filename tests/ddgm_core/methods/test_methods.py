"""DDX, DDRM and DPS do what their equations say, on dense operators and Gaussian priors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.methods.rivals.guidance import dps
from ddgm.core.methods.rivals.samplers import ddrm
from ddgm.core.methods.samplers import ddx
from ddgm.core.methods.schedules import eq2_levels
from tests.ddgm_core.methods.white_images import (
    PIXELS,
    SAMPLES,
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


def test_ddx_is_its_affine_recursion(y: Tensor) -> None:
    """Direction by direction of A's basis: a proximal step, noise, shrinking by the prior."""
    a, rho, kappa = Dense(), 4.0, 1.3
    s, data = a.singular_values.numpy(), a.data_coefficients(y)[0].numpy()
    mean, variance = np.zeros(PIXELS), np.zeros(PIXELS)
    for sigma in SIGMAS:
        mu = TILT_NOISE**2 / (rho * sigma**2)
        mean, variance = (data + mu * mean) / (s**2 + mu), variance * (mu / (s**2 + mu)) ** 2
        keep = 1 - kappa * sigma**2 / (WIDE**2 + sigma**2)
        mean, variance = keep * mean, keep**2 * (variance + sigma**2)
    many = y.expand(SAMPLES, -1, -1)
    x = ddx(a, many, white_denoiser(SIGMAS), drawn(SAMPLES), SIGMAS, TILT_NOISE, rho, kappa)
    agree(x, mean, variance)


@pytest.mark.parametrize(("eta", "eta_b"), [(1.0, 1.0), (0.85, 1.0), (0.5, 0.7)])
def test_ddrm_is_its_affine_recursion(y: Tensor, eta: float, eta_b: float) -> None:
    """Eq. 7 and 8 of Kawar et al., direction by direction, written once more for scalars."""
    a, smallest = Dense(), 0.3
    mean, variance = np.zeros(PIXELS), np.zeros(PIXELS)
    for i, s in enumerate(a.singular_values.numpy()):
        pin = float(a.data_coefficients(y)[0, i]) / s**2 if s >= smallest else 0.0
        floor = TILT_NOISE / s if s >= smallest else np.inf
        first = SIGMAS[0]
        known = floor <= first
        m, v = (pin, first**2 - floor**2) if known else (0.0, first**2)
        for sigma, after in pairwise(SIGMAS):
            keep = WIDE**2 / (WIDE**2 + sigma**2)
            left = (1 - eta**2) ** 0.5 * after
            if s < smallest:
                gain = keep + left * (1 - keep) / sigma
                m, v = gain * m, gain**2 * v + (eta * after) ** 2
            elif after < floor:
                gain = keep * (1 - left / floor)
                m, v = gain * m + left * pin / floor, gain**2 * v + (eta * after) ** 2
            else:
                gain = (1 - eta_b) * keep
                m, v = gain * m + eta_b * pin, gain**2 * v + after**2 - (eta_b * floor) ** 2
        keep = WIDE**2 / (WIDE**2 + SIGMAS[-1] ** 2)
        mean[i], variance[i] = keep * m, keep**2 * v
    many = y.expand(SAMPLES, -1, -1)
    x = ddrm(
        a, many, white_denoiser(SIGMAS), drawn(SAMPLES), SIGMAS, TILT_NOISE, eta, eta_b, smallest
    )
    agree(x, mean, variance)


def test_dps_is_eq_6(y: Tensor) -> None:
    """Against autograd through the whole of ‖A(x - σε̂(x)) - y‖², with a denoiser that bends."""
    alpha, beta, zeta = 0.183, 0.5, 0.3
    sigmas = eq2_levels(3.0, alpha, beta, 4)
    noise, a, y = drawn(3), Dense(), y.expand(3, -1, -1)

    def denoise(x: Tensor) -> Tensor:
        return torch.tanh(x) * x.std(dim=(1, 2, 3), keepdim=True) / 2

    x = sigmas[0] * noise(0)
    for n, sigma in enumerate(sigmas):
        x = x.detach().requires_grad_()
        predicted = denoise(x[:, None])[:, 0]
        squares = ((a.forward(x - sigma * predicted) - y) ** 2).sum((1, 2))
        (gradient,) = torch.autograd.grad(squares.sum(), x)
        scale = zeta / ((1 + sigma**2) ** 0.5 * squares.sqrt())
        x = x - alpha * sigma * predicted + (alpha * beta) ** 0.5 * sigma * noise(n + 1)
        x = x - scale[:, None, None] * gradient
    found = dps(a, y, denoise, noise, sigmas, alpha, beta, zeta)
    assert torch.allclose(found, x, atol=1e-9)
    assert not found.requires_grad


@pytest.mark.parametrize("method", ["ddx", "ddrm", "dps"])
def test_progress_is_told_of_every_level(y: Tensor, method: str) -> None:
    told: list[int] = []
    last: list[Tensor] = []

    def progress(n: int, x: Tensor) -> None:
        told.append(n)
        last.append(x)

    common = (Dense(), y, white_denoiser(SIGMAS), drawn(1), SIGMAS)
    if method == "ddx":
        x = ddx(*common, TILT_NOISE, 4.0, 1.0, progress)
    elif method == "ddrm":
        x = ddrm(*common, TILT_NOISE, progress=progress)
    else:
        x = dps(*common, 0.1, 0.5, 0.1, progress)
    assert told == list(range(len(SIGMAS)))
    assert torch.equal(last[-1].detach(), x)
