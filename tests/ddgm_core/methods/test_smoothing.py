"""A stack smoothed by a Gaussian, and DDX's longer step for what is coarse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.samplers import ddx
from ddgm.core.methods.smoothing import ROWS, SCALE, smoothed
from ddgm.core.networks.planes import Plane
from ddgm.core.projectors import Projector, projector

SIGMAS = (2.0, 1.0, 0.5)
GAMMA = 7.0


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("shape", [(5, 12, 20), (3, ROWS + 5, 4), (1, 1, 1)])
def test_smoothing_is_scipys(shape: tuple[int, ...], across: bool) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = x.numpy().astype(np.float64)
    for axis in (0, 1, 2) if across else (1, 2):
        expected = gaussian_filter1d(expected, SCALE, axis, mode="nearest", truncate=4)
    assert np.allclose(smoothed(x, across), expected, atol=1e-6)


@pytest.fixture(scope="module")
def a() -> Projector:
    return projector(TiltGeometry.uniform(16, 16, 5, detector="lateral"))


def noise(n: int) -> Tensor:
    return torch.randn(6, 16, 16, generator=torch.Generator().manual_seed(n))


def tenth(x: Tensor) -> Tensor:
    return x / 10


@pytest.mark.parametrize("planes", [("slice",) * 3, ("across", "slice", "across")])
def test_all_levels_but_the_last_take_more_of_what_is_coarse(
    a: Projector, planes: tuple[Plane, ...]
) -> None:
    y = torch.randn(6, 5, a.geometry.bins, generator=torch.Generator().manual_seed(9))
    solve, x = a.proximal(y), torch.zeros(6, 16, 16)
    for n, sigma in enumerate(SIGMAS):
        x = solve(x, 0.3**2 / (4.0 * sigma**2)) + sigma * noise(n)
        coarse = smoothed(x / 10, across="across" in planes)
        x = x - 1.5 * sigma * x / 10 - (GAMMA * sigma * coarse if n < 2 else 0)
    found = ddx(a, y, tenth, noise, SIGMAS, 0.3, 4.0, 1.5, planes=planes, gamma=GAMMA)
    assert torch.allclose(found, x, atol=1e-4)


def test_slices_stand_alone_unless_they_are_denoised_across(a: Projector) -> None:
    y = torch.randn(6, 5, a.geometry.bins, generator=torch.Generator().manual_seed(9))

    def solved(first: int, planes: tuple[Plane, ...]) -> Tensor:
        part = lambda n: noise(n)[first:]  # noqa: E731
        x = ddx(a, y[first:], tenth, part, SIGMAS, 0.3, 4.0, 1.5, None, planes, GAMMA)
        return x[3 - first :]

    assert torch.allclose(solved(3, ("slice",) * 3), solved(0, ("slice",) * 3), atol=1e-4)
    across: tuple[Plane, ...] = ("across", "slice", "across")
    assert not torch.allclose(solved(3, across), solved(0, across), atol=1e-2)
