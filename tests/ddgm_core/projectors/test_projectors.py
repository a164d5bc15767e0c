"""Both backends are the same operator, with an exact adjoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import ArpackError

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors import (
    FourierProjector,
    MatrixProjector,
    Projector,
    fourier,
    matrix,
    projector,
)
from tests.ddgm_core.projectors.operators import (
    GEOMETRIES,
    LATERAL,
    PERPENDICULAR,
    Backend,
    apart,
    dense,
    each_case,
    each_lateral,
    periodic,
    sinograms,
    slices,
    smooth,
)


@each_case
def test_forward_is_astras_matrix(backend: Backend, geometry: TiltGeometry) -> None:
    x = slices(geometry)
    expected = x.flatten(1).double() @ dense(geometry).T
    assert apart(backend(geometry).forward(x).flatten(1), expected) < 5e-5


@each_case
def test_adjoint_is_the_transpose(backend: Backend, geometry: TiltGeometry) -> None:
    a, x, y = backend(geometry), slices(geometry), sinograms(geometry)
    ax, aty = a.forward(x), a.adjoint(y)
    assert aty.shape == x.shape
    assert ax.shape == y.shape
    left = (ax.double() * y).sum(dim=(1, 2))
    right = (aty.double() * x).sum(dim=(1, 2))
    scale = ax.norm(dim=(1, 2)) * y.norm(dim=(1, 2))
    assert ((left - right).abs() < 1e-6 * scale).all()
    assert ((left - right).abs() < 1e-5 * left.abs()).all()


@each_lateral
def test_backends_agree_on_smooth_images(geometry: TiltGeometry) -> None:
    """To ASTRA's own float rounding: 1e-6 measured here, 1e-5 on white images."""
    by_matrix, by_fourier = MatrixProjector(geometry), FourierProjector(geometry)
    x = smooth(geometry)
    y = by_matrix.forward(x)
    assert apart(by_fourier.forward(x), y) < 2e-5
    assert apart(by_fourier.adjoint(y), by_matrix.adjoint(y)) < 2e-5


@each_case
def test_a_slice_is_projected_alike_in_any_batch(backend: Backend, geometry: TiltGeometry) -> None:
    a, x = backend(geometry), slices(geometry, 5)
    one_by_one = torch.cat([a.forward(s[None]) for s in x])
    assert torch.allclose(a.forward(x), one_by_one, atol=1e-5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_norm_of_the_matrix_is_its_largest_singular_value(geometry: TiltGeometry) -> None:
    exact = np.linalg.norm(dense(geometry).numpy(), 2)
    assert MatrixProjector(geometry).norm == pytest.approx(exact, rel=1e-4)


@each_lateral
def test_norm_in_fourier_space_is_that_of_the_ring(geometry: TiltGeometry) -> None:
    a = FourierProjector(geometry)
    exact = np.linalg.norm(periodic(geometry, a.length).numpy(), 2)
    assert a.norm == pytest.approx(exact, rel=1e-5)
    assert a.norm >= MatrixProjector(geometry).norm  # so a step it allows, both allow


def test_the_fastest_exact_backend_is_chosen() -> None:
    assert isinstance(projector(LATERAL), FourierProjector)
    assert isinstance(projector(PERPENDICULAR), MatrixProjector)


def test_fourier_needs_a_lateral_detector() -> None:
    with pytest.raises(ValueError, match="lateral"):
        FourierProjector(PERPENDICULAR)


@pytest.mark.parametrize("geometry", [LATERAL, PERPENDICULAR])
def test_what_is_built_once_serves_where_astra_is_missing(
    geometry: TiltGeometry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(geometry: TiltGeometry) -> None:
        raise ModuleNotFoundError("astra")

    here: Projector = projector(geometry, tmp_path)
    for module in (fourier, matrix):
        monkeypatch.setattr(module, "projection_matrix", missing)
    there = projector(geometry, tmp_path)
    x = slices(geometry)
    assert torch.equal(there.forward(x), here.forward(x))
    assert there.norm == here.norm


@pytest.mark.parametrize("n", [1, 2, 11, 97, 549, 1000])
def test_fft_lengths_are_even_and_smooth(n: int) -> None:
    length = rest = fourier.fast_length(n)
    assert length >= n
    assert length % 2 == 0
    for p in (2, 3, 5, 7):
        while rest % p == 0:
            rest //= p
    assert rest == 1


@pytest.mark.parametrize("fails", [False, True])
def test_one_view_has_a_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """ARPACK can give up on it, by rounding (seen once): ones is its singular vector to begin with.

    Of one view at 0 degrees A adds up columns, so ‖A‖₂² is their length.
    """

    def gives_up(*args: object, **options: object) -> None:
        raise ArpackError(3)

    if fails:
        monkeypatch.setattr("scipy.sparse.linalg.svds", gives_up)
    for detector in ("perpendicular", "lateral"):
        geometry = TiltGeometry.uniform(24, 40, 1, (0, 0), detector)
        assert MatrixProjector(geometry, tmp_path).norm == pytest.approx(24**0.5, rel=1e-4)
