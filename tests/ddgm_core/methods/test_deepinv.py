"""Ours against deepinv 0.5, where that is installed: A, least squares, DPS' gradient."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.least_squares import cgls
from ddgm.core.methods.rivals.deepinv import physics
from ddgm.core.methods.rivals.guidance import dps
from ddgm.core.projectors import FourierProjector, MatrixProjector, Projector

try:
    deepinv = import_module("deepinv")
except (ImportError, RuntimeError) as error:
    pytest.skip(f"deepinv cannot be imported: {error}", allow_module_level=True)

SIDE = 24
PERPENDICULAR = MatrixProjector(TiltGeometry.uniform(SIDE, SIDE, 17))
LATERAL = FourierProjector(TiltGeometry.uniform(SIDE, SIDE, 17, detector="lateral"))


@pytest.mark.parametrize("a", [PERPENDICULAR, LATERAL])
def test_adjoint(a: Projector) -> None:
    assert abs(float(physics(a).adjointness_test(torch.randn(1, 1, SIDE, SIDE)))) < 1e-5


def test_norm() -> None:
    start = torch.randn(1, 1, SIDE, SIDE)
    found = physics(PERPENDICULAR).compute_sqnorm(start, verbose=False, max_iter=200, tol=1e-6)
    assert float(found) == pytest.approx(PERPENDICULAR.norm**2, rel=1e-3)


def test_least_squares() -> None:
    y = PERPENDICULAR.forward(torch.randn(2, SIDE, SIDE))
    theirs = physics(PERPENDICULAR).A_dagger(y[:, None], max_iter=10, tol=0.0)[:, 0]
    ours = cgls(PERPENDICULAR, y, 10)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-2


class Shrink(nn.Module):
    """The denoiser of a white Gaussian prior of variance 1."""

    def forward(self, x: Tensor, sigma: Any) -> Tensor:
        return x / (1 + sigma**2)


def test_a_step_of_dps_is_eq_6_with_deepinvs_gradient() -> None:
    sigma, alpha, beta, zeta = 0.7, 0.3, 0.5, 0.9
    y = PERPENDICULAR.forward(torch.randn(2, SIDE, SIDE)) + torch.randn(2, 17, SIDE)
    noise = [torch.randn(2, SIDE, SIDE) for _ in range(2)]

    def predicted(x: Tensor) -> Tensor:
        return (x - Shrink()(x, sigma)) / sigma

    found = dps(PERPENDICULAR, y, predicted, lambda n: noise[n], [sigma], alpha, beta, zeta)
    x = sigma * noise[0]
    fidelity = deepinv.sampling.DPSDataFidelity(denoiser=Shrink())
    gradient = fidelity.grad(x[:, None], y[:, None], physics(PERPENDICULAR), sigma)[:, 0]
    # theirs is of the norm, Eq. 6's of its square over the norm: twice as long
    expected = x - alpha * sigma * predicted(x) + (alpha * beta) ** 0.5 * sigma * noise[1]
    expected = expected - zeta * 2 * gradient / (1 + sigma**2) ** 0.5
    assert torch.allclose(found, expected.detach(), atol=1e-4)
