"""A stretched detector's data are weighed by view and lateral frequency, and A stays exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors import FourierProjector, ProjectorError, Whitening, projector
from tests.ddgm_core.projectors.operators import (
    ASYMMETRIC,
    LATERAL,
    apart,
    periodic,
    sinograms,
    slices,
    white,
)

PAIRED = replace(LATERAL, noise=(3.0, 1.0, 1.0, 0.5, 2.0, 2.0, 0.5, 1.0, 1.0, 3.0))
UNPAIRED = TiltGeometry(
    12, 20, tuple(np.radians([-41, -30.5, 7, 0, 58, 20.0])), "lateral", 0, 1.0, (1, 2, 3, 1, 1, 0.5)
)
UNPAIRED = replace(UNPAIRED, bins=UNPAIRED.width + 2 * UNPAIRED.reach)
each_measured = pytest.mark.parametrize(
    "geometry", [PAIRED, replace(ASYMMETRIC, noise=tuple(range(1, 11))), UNPAIRED]
)


def dense_weights(g: TiltGeometry, length: int) -> Tensor:
    """W in float64, (views, length, length): a filter along each view's bins, by its matrix."""
    frequency = 2 * np.abs(np.fft.fftfreq(length))
    spectra = [
        np.where(frequency < np.cos(angle), np.sqrt(np.cos(angle)) / noise, 0)
        for angle, noise in zip(g.angles, g.noise, strict=True)
    ]
    impulses = [np.fft.ifft(spectrum).real for spectrum in spectra]
    shifts = np.subtract.outer(np.arange(length), np.arange(length)) % length
    return torch.from_numpy(np.stack([impulse[shifts] for impulse in impulses]))


def dense(a: FourierProjector) -> Tensor:
    """WA of the ring in float64, (views · length, thickness · length)."""
    g, length = a.geometry, a.length
    ring = periodic(g, length).reshape(g.views, length, -1)
    return (dense_weights(g, length) @ ring).flatten(0, 1)


def on_the_ring(a: FourierProjector, x: Tensor) -> Tensor:
    side = a.geometry.reach
    return F.pad(x.double(), (side, a.length - a.geometry.width - side)).flatten(1)


@each_measured
def test_forward_and_adjoint_are_those_of_the_weighted_matrix(geometry: TiltGeometry) -> None:
    a, x = FourierProjector(geometry), slices(geometry)
    wa, y = dense(a), white(3, geometry.views, a.length, seed=1)
    assert apart(a.forward(x).flatten(1), on_the_ring(a, x) @ wa.T) < 1e-5
    inside = slice(geometry.reach, geometry.reach + geometry.width)
    back = (y.flatten(1).double() @ wa).reshape(3, geometry.thickness, a.length)[..., inside]
    assert apart(a.adjoint(y), back) < 1e-5
    left, right = (a.forward(x) * y).sum((1, 2)), (a.adjoint(y) * x).sum((1, 2))
    assert torch.allclose(left, right, rtol=1e-4)
    assert a.norm == pytest.approx(float(torch.linalg.matrix_norm(wa, 2)), rel=1e-5)


@each_measured
@pytest.mark.parametrize("mu", [1e-2, 1.0, 300.0])
def test_proximal_steps_weigh_each_view_by_its_noise(geometry: TiltGeometry, mu: float) -> None:
    a, x = FourierProjector(geometry), slices(geometry)
    y, wa = sinograms(geometry), dense(a)
    padded = F.pad(y.double(), (0, a.length - geometry.bins))
    whitened = torch.einsum("vij,nvj->nvi", dense_weights(geometry, a.length), padded)
    assert apart(a.whiten(y), whitened) < 1e-5
    normal = wa.T @ wa + mu * torch.eye(wa.shape[1], dtype=torch.float64)
    right = whitened.flatten(1) @ wa + mu * on_the_ring(a, x)
    solved = torch.linalg.solve(normal, right.T).T.reshape(3, geometry.thickness, a.length)
    inside = slice(geometry.reach, geometry.reach + geometry.width)
    assert apart(a.proximal(a.whiten(y))(x, mu), solved[..., inside]) < 1e-3


@each_measured
def test_the_eigenbasis_is_that_of_the_weighted_matrix(geometry: TiltGeometry) -> None:
    a, x = FourierProjector(geometry), slices(geometry)
    c, y = a.coefficients(x), a.forward(x)
    assert a._v.is_complex() != (geometry is PAIRED)
    assert apart(a.slices(c), x) < 1e-4
    assert apart(a.slices(a.data_coefficients(y)), a.adjoint(y)) < 1e-4
    assert apart(a.slices(a.singular_values**2 * c), a.adjoint(y)) < 1e-3


@pytest.mark.parametrize("noise", [1.0, 2.5])
def test_whitened_noise_of_a_stretched_detector_is_white_where_there_are_data(
    noise: float,
) -> None:
    """Its covariance is 1 in as many directions as the detector has bins, and 0 in all others."""
    g = TiltGeometry(12, 24, (0.0, np.arccos(0.5 + 1e-9)), "lateral", 48, 1.0, (noise, noise))
    a = FourierProjector(g)
    assert a.length == g.bins == 48  # a ring, so that stretching is exact
    detector = torch.fft.rfft(noise * torch.eye(24, dtype=torch.float64))
    stretched = 2 * torch.fft.irfft(detector[:, :12], n=48)  # 12 is above all that is kept
    y = torch.zeros(24, 2, 48)
    y[:, 1] = stretched
    whitened = a.whiten(y)[:, 1].double()
    values = torch.linalg.eigvalsh(whitened.T @ whitened)
    assert torch.allclose(values[-23:], torch.ones(23, dtype=torch.float64), atol=1e-5)
    assert values[:-23].abs().max() < 1e-6


def test_without_noise_nothing_is_weighed() -> None:
    a, y = FourierProjector(LATERAL), sinograms(LATERAL)
    assert torch.equal(a.whiten(y), y)
    assert isinstance(a, Whitening)


def test_a_projector_that_weighs_all_views_alike_is_refused() -> None:
    with pytest.raises(ProjectorError, match="matrix weighs all views alike"):
        projector(PAIRED, name="matrix")
