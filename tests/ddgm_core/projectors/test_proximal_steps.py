"""Proximal steps and singular values are those of a dense solve."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ddgm.core.geometry import TiltGeometry, reach
from ddgm.core.projectors import FourierProjector, MatrixProjector, Spectral
from ddgm.core.projectors.dense import DecompositionError, DenseProjector
from tests.ddgm_core.projectors.operators import (
    GEOMETRIES,
    apart,
    dense,
    each_lateral,
    periodic,
    sinograms,
    slices,
)


@each_lateral
@pytest.mark.parametrize("mu", [1e-2, 1.0, 300.0])
def test_fourier_proximal_steps_solve_for_the_ring(geometry: TiltGeometry, mu: float) -> None:
    """argmin ‖Az - y‖² + μ ‖z - x‖² by a dense solve in float64, cropped."""
    a, x, y = FourierProjector(geometry), slices(geometry), sinograms(geometry)
    side = reach(geometry.thickness, geometry.angles)
    ring, inside = periodic(geometry, a.length), slice(side, side + geometry.width)
    whole = torch.zeros(len(x), geometry.thickness, a.length, dtype=torch.float64)
    whole[..., inside] = x
    measured = F.pad(y.double(), (0, a.length - geometry.bins)).flatten(1)
    normal = ring.T @ ring + mu * torch.eye(ring.shape[1], dtype=torch.float64)
    right = measured @ ring + mu * whole.flatten(1)
    expected = torch.linalg.solve(normal, right.T).T.reshape(whole.shape)[..., inside]
    assert apart(a.proximal(y)(x, mu), expected) < 1e-3


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_matrix_proximal_steps_near_the_solution(geometry: TiltGeometry) -> None:
    """Conjugate gradients from x: all but solved where μ is large, and nearer than x elsewhere."""
    a, x, y = MatrixProjector(geometry), slices(geometry), sinograms(geometry)
    m = dense(geometry)
    for relative, share in ((1.0, 1e-4), (0.1, 1e-3), (1e-3, 0.1)):
        mu = relative * a.norm**2
        normal = m.T @ m + mu * torch.eye(m.shape[1], dtype=torch.float64)
        right = y.flatten(1).double() @ m + mu * x.flatten(1).double()
        exact = torch.linalg.solve(normal, right.T).T.reshape(x.shape)
        found = a.proximal(y)(x, mu)
        assert (found - exact).norm() < share * (x - exact).norm()


@each_lateral
def test_a_lateral_projector_has_its_svd_at_hand(geometry: TiltGeometry) -> None:
    """V is orthonormal, and V S² Vᵀ is AᵀA of the ring."""
    a, x = FourierProjector(geometry), slices(geometry)
    assert isinstance(a, Spectral)
    assert not isinstance(MatrixProjector(geometry), Spectral)
    c = a.coefficients(x)
    assert apart(a.slices(c), x) < 1e-4
    y = a.forward(x)
    assert apart(a.slices(a.data_coefficients(y)), a.adjoint(y)) < 1e-4
    assert apart(a.slices(a.singular_values**2 * c), a.adjoint(y)) < 1e-3


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_dense_projector_has_its_svd_at_hand(geometry: TiltGeometry) -> None:
    a, x, y, m = DenseProjector(geometry), slices(geometry), sinograms(geometry), dense(geometry)
    assert isinstance(a, Spectral)
    exact = torch.linalg.svdvals(m)
    shown = a.singular_values.sort(descending=True).values[: len(exact)]
    assert torch.allclose(shown.double(), exact[: len(shown)], atol=2e-3 * float(exact[0]))
    assert apart(a.slices(a.coefficients(x)), x) < 1e-5
    assert apart(a.slices(a.data_coefficients(y)), a.adjoint(y)) < 1e-5
    mu = 0.5
    normal = m.T @ m + mu * torch.eye(m.shape[1], dtype=torch.float64)
    right = y.flatten(1).double() @ m + mu * x.flatten(1).double()
    expected = torch.linalg.solve(normal, right.T).T.reshape(x.shape)
    assert apart(a.proximal(y)(x, mu), expected) < 1e-3
    step = 1.42 / a.norm**2
    one_by_one = MatrixProjector(geometry).gradient_steps(y, step, 15)(x)
    assert apart(a.gradient_steps(y, step, 15)(x), one_by_one) < 1e-3


def test_a_decomposition_without_room_is_refused_before_it_starts() -> None:
    wide = TiltGeometry.uniform(128, 1568, 3)
    with pytest.raises(DecompositionError, match=r"128 x 1568 take .* GB .* lateral detector"):
        DenseProjector(wide)
