"""Gradient descent is what Eq. 4 says, from zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import lsqr
from torch import Tensor

from ddgm.core.geometry import Detector, TiltGeometry
from ddgm.core.methods.least_squares import cgls, filtered_back_projection, gradient_descent
from ddgm.core.projectors import MatrixProjector, StepError
from ddgm.core.projectors.astra_matrix import projection_matrix


@pytest.fixture(scope="module")
def a() -> MatrixProjector:
    return MatrixProjector(TiltGeometry.uniform(16, 24, 20))


@pytest.fixture(scope="module")
def y(a: MatrixProjector) -> Tensor:
    return a.forward(torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("count", [0, 1, 17])
def test_it_is_the_loop_of_the_paper(a: MatrixProjector, y: Tensor, count: int) -> None:
    step = 1.42 / a.norm**2
    x = torch.zeros(2, 16, 24)
    for _ in range(count):
        x = x - step * a.adjoint(a.forward(x) - y)
    assert torch.allclose(gradient_descent(a, y, step, count), x, atol=1e-5)


def test_the_residual_falls_with_every_step(a: MatrixProjector, y: Tensor) -> None:
    fits = [gradient_descent(a, y, 1.42 / a.norm**2, k) for k in (0, 1, 2, 3, 5, 10, 30, 100, 300)]
    residuals = torch.stack([(a.forward(x) - y).norm(dim=(1, 2)) for x in fits])
    assert (residuals[1:] < residuals[:-1]).all()
    assert (residuals[-1] < 0.05 * residuals[0]).all()


def test_a_diverging_step_is_refused(a: MatrixProjector, y: Tensor) -> None:
    with pytest.raises(StepError):
        gradient_descent(a, y, 2.01 / a.norm**2, 5)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_cgls_is_scipys(a: MatrixProjector, y: Tensor, count: int) -> None:
    """LSQR makes the same iterates, slice by slice."""
    matrix = projection_matrix(a.geometry).astype(float)
    x = cgls(a, y, count)
    for found, sinogram in zip(x, y, strict=True):
        expected = lsqr(matrix, sinogram.flatten().double().numpy(), 0, 0, 0, iter_lim=count)[0]
        assert torch.allclose(found.flatten().double(), torch.from_numpy(expected), atol=1e-3)


def test_cgls_stays_at_a_solution(a: MatrixProjector) -> None:
    nothing = torch.zeros(2, a.geometry.views, a.geometry.bins)
    assert torch.equal(cgls(a, nothing, 5), torch.zeros(2, 16, 24))


@pytest.mark.parametrize("detector", ["perpendicular", "lateral"])
def test_back_projection_of_all_angles_gives_the_image(detector: Detector) -> None:
    """A smooth disc seen from everywhere that a detector can see from, at its own grey level."""
    degrees = (-89.0, 89.0) if detector == "perpendicular" else (-80.0, 80.0)
    a = MatrixProjector(TiltGeometry.uniform(64, 64, 179, degrees, detector))
    z, x = torch.meshgrid(torch.arange(64.0) - 31.5, torch.arange(64.0) - 31.5, indexing="ij")
    disc = torch.sigmoid((18 - (z**2 + x**2).sqrt()) / 2)[None]
    found = filtered_back_projection(a, a.forward(disc))
    middle = (slice(None), slice(24, 40), slice(24, 40))
    level = found[middle].mean() / disc[middle].mean()
    assert float(level) == pytest.approx(1.0, abs=0.02 if detector == "perpendicular" else 0.12)
    assert float((found - disc).square().mean().sqrt()) < 0.12


def test_back_projection_is_astras(a: MatrixProjector, y: Tensor) -> None:
    """ASTRA's own, with the same window, on the detector that it knows."""
    import astra

    g = a.geometry
    volume = astra.create_vol_geom(g.thickness, g.width)
    views = astra.create_proj_geom("parallel", 1.0, g.bins, np.array(g.angles))
    kernel = astra.create_projector("linear", views, volume)
    data = astra.data2d.create("-sino", views, y[0].numpy())
    out = astra.data2d.create("-vol", volume)
    config: Any = astra.astra_dict("FBP")
    config |= {"ProjectorId": kernel, "ProjectionDataId": data, "ReconstructionDataId": out}
    config["option"] = {"FilterType": "hann"}
    astra.algorithm.run(astra.algorithm.create(config))
    theirs = torch.from_numpy(astra.data2d.get(out))
    ours = filtered_back_projection(a, y)[0]
    scale = float((ours * theirs).sum() / theirs.square().sum())
    assert float((ours - scale * theirs).norm() / ours.norm()) < 0.05
