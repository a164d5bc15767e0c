"""Both backends are the same operator, with an exact adjoint and exact gradient steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ddgm.core.geometry import TiltGeometry, reach
from ddgm.core.methods.samplers import ddgm
from ddgm.core.methods.schedules import log_linear
from ddgm.core.projectors import (
    FourierProjector,
    MatrixProjector,
    Projector,
    Spectral,
    StepError,
    fourier,
    matrix,
    projector,
)
from ddgm.core.projectors.astra_matrix import projection_matrix
from ddgm.core.projectors.dense import DecompositionError, DenseProjector
from ddgm.core.simulation.noise import NoiseField

PERPENDICULAR = TiltGeometry.uniform(12, 20, 10)
LATERAL = TiltGeometry.uniform(12, 20, 10, detector="lateral")
ASYMMETRIC = TiltGeometry.uniform(12, 20, 10, (-30.0, 60.0), "lateral")
ODD = TiltGeometry.uniform(13, 21, 9, detector="lateral")
GEOMETRIES = [PERPENDICULAR, LATERAL, ASYMMETRIC, ODD]
CASES = [(MatrixProjector, g) for g in GEOMETRIES] + [
    (FourierProjector, g) for g in GEOMETRIES if g.detector == "lateral"
]
each_case = pytest.mark.parametrize(("backend", "geometry"), CASES)
each_lateral = pytest.mark.parametrize("geometry", [LATERAL, ASYMMETRIC, ODD])
Backend = type[MatrixProjector] | type[FourierProjector]


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slices(g: TiltGeometry, count: int = 3) -> Tensor:
    return white(count, g.thickness, g.width)


def sinograms(g: TiltGeometry, count: int = 3) -> Tensor:
    return white(count, g.views, g.bins, seed=1)


def smooth(g: TiltGeometry) -> Tensor:
    """Blobs, two of them cut by the slice's edges."""
    z, x = np.indices((g.thickness, g.width), dtype=np.float32)
    origins = [(0.5, 0.5), (0.1, 0.05), (0.8, 0.97)]
    squares = [(z - a * g.thickness) ** 2 + (x - b * g.width) ** 2 for a, b in origins]
    return torch.from_numpy(np.stack([np.exp(-r / 18) for r in squares]))


def apart(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference over that of `b`."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def dense(g: TiltGeometry) -> Tensor:
    return torch.from_numpy(projection_matrix(g).toarray()).double()


def periodic(g: TiltGeometry, length: int) -> Tensor:
    """Dense A of a slab that is `length` wide and closed to a ring, (views · length, pixels).

    ASTRA's matrix of the open slab of that width, what its detector catches beyond the slab's
    two ends put where it comes round again.
    """
    open_slab = TiltGeometry.uniform(g.thickness, length, g.views, detector="lateral")
    open_slab = TiltGeometry(g.thickness, length, g.angles, "lateral", open_slab.bins)
    side = (open_slab.bins - length) // 2
    a = dense(open_slab).reshape(g.views, open_slab.bins, -1)
    ring = torch.zeros(g.views, length, a.shape[-1], dtype=torch.float64)
    ring.index_add_(1, (torch.arange(open_slab.bins) - side) % length, a)
    return ring.flatten(0, 1)


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


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("count", [0, 1, 25, 100])
def test_matrix_steps_are_the_explicit_loop(geometry: TiltGeometry, count: int) -> None:
    a, x, y = MatrixProjector(geometry), slices(geometry), sinograms(geometry)
    step = 1.42 / a.norm**2
    expected, m = x.flatten(1).double(), dense(geometry)
    for _ in range(count):
        expected = expected - step * (expected @ m.T - y.flatten(1)) @ m
    assert apart(a.gradient_steps(y, step, count)(x).flatten(1), expected) < 1e-5


@each_lateral
@pytest.mark.parametrize("count", [0, 1, 2, 25, 100])
@pytest.mark.parametrize("relative", [0.05, 1.42, 1.99])
def test_fourier_steps_are_the_explicit_loop_on_the_ring(
    geometry: TiltGeometry, count: int, relative: float
) -> None:
    """The same loop in float64 with a dense matrix: outside the slab, from zero and cropped."""
    a, x, y = FourierProjector(geometry), slices(geometry), sinograms(geometry)
    step, side = relative / a.norm**2, reach(geometry.thickness, geometry.angles)
    ring, inside = periodic(geometry, a.length), slice(side, side + geometry.width)
    whole = torch.zeros(len(x), geometry.thickness, a.length, dtype=torch.float64)
    whole[..., inside] = x
    measured = F.pad(y.double(), (0, a.length - geometry.bins)).flatten(1)
    flat = whole.flatten(1)
    for _ in range(count):
        flat = flat - step * (flat @ ring.T - measured) @ ring
    expected = flat.reshape(whole.shape)[..., inside]
    assert apart(a.gradient_steps(y, step, count)(x), expected) < 5e-5


@pytest.mark.parametrize("count", [1, 25, 100, 100_000])
def test_tiny_eigenvalues_are_harmless(count: int) -> None:
    """One view sees one image per frequency: every other eigenvalue is zero but for rounding."""
    a = FourierProjector(TiltGeometry.uniform(12, 20, 1, (0.0, 0.0), "lateral"))
    step = 1.42 / a.norm**2
    x = slices(a.geometry)
    power, series = a._collapse(step, count)
    unseen = x - x.mean(dim=1, keepdim=True)  # zero mean along the beam: Ax = 0
    moved = a._crop(fourier._product(series, a._slices(unseen)))
    assert apart(moved, step * count * unseen) < 1e-4
    assert apart(a._crop(fourier._product(power, a._slices(unseen))), unseen) < 1e-4
    assert a.gradient_steps(a.forward(x), step, count)(x).isfinite().all()


@pytest.mark.parametrize("eigenvalue", [-1e-9, 0.0, 1e-300, 1e-30, 1e-12, 1e-3, 0.499, 0.501, 1.9])
@pytest.mark.parametrize("count", [1, 25, 100])
def test_the_series_is_exact_for_any_eigenvalue(eigenvalue: float, count: int) -> None:
    """Σ_{k<K} (1 - μ)^k, which tends to K at zero, as `_collapse` has it with step 1."""
    a = FourierProjector(LATERAL)
    a._eigenvalues = torch.full_like(a._eigenvalues, eigenvalue)
    power, series = (m.diagonal(dim1=-2, dim2=-1) for m in a._collapse(1.0, count))
    mu = max(eigenvalue, 0.0)
    expected = sum((1 - mu) ** k for k in range(count))
    assert torch.allclose(series, torch.full_like(series, expected), rtol=1e-5)
    assert torch.allclose(power, torch.full_like(power, (1 - mu) ** count), rtol=1e-4, atol=1e-6)


def test_pairs_of_tilts_make_a_real_kernel_and_others_a_complex_one() -> None:
    x, y = slices(LATERAL), sinograms(LATERAL)
    for geometry, is_complex in ((LATERAL, False), (ASYMMETRIC, True)):
        a = FourierProjector(geometry)
        assert a._eigenvectors.is_complex() is is_complex
        y = a.forward(x)
        assert a.gradient_steps(y, 1.42 / a.norm**2, 9)(x).dtype == torch.float32


def test_asymmetric_tilts_give_what_the_matrix_gives() -> None:
    """Inside a margin of four times the thickness: 3e-4 apart measured, 4e-2 up to the edges."""
    geometry = TiltGeometry.uniform(12, 160, 20, (-30.0, 60.0), "lateral")
    by_matrix, by_fourier = MatrixProjector(geometry), FourierProjector(geometry)
    y, step = by_matrix.forward(slices(geometry)), 1.42 / by_fourier.norm**2
    zero, inside = torch.zeros(3, 12, 160), slice(48, -48)
    a, b = (p.gradient_steps(y, step, 25)(zero) for p in (by_fourier, by_matrix))
    assert apart(a[..., inside], b[..., inside]) < 1e-3


def test_ddgm_is_the_same_through_both_backends_inside_a_margin() -> None:
    """Within 1 % inside 128 pixels, with the same noise; at the edges they differ by design.

    There the matrix holds the outside at zero and the ring lets it move. The slab is a
    quarter as thick as the paper's, and 12 x 25 steps; measured 0.2 % inside, 2 % overall.
    """
    geometry = TiltGeometry.uniform(32, 384, 64, detector="lateral")
    by_matrix, by_fourier = MatrixProjector(geometry), FourierProjector(geometry)
    k = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    image = F.conv2d(white(1, 1, 36, 388), torch.outer(k, k)[None, None])[:, 0]
    y = by_matrix.forward(image / image.std())
    y = y + 0.1 * y.std() * white(*y.shape, seed=1)
    field, sigmas = NoiseField(0, "sampler"), log_linear(3.0, 0.03, 12)

    def denoise(x: Tensor) -> Tensor:
        padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
        return 0.3 * (x - F.conv2d(padded, torch.outer(k, k)[None, None]))

    def noise(n: int) -> Tensor:
        return field.batch((32, 384), [(0, 0, 0)], n)

    step = 1.42 / by_fourier.norm**2
    a, b = (ddgm(p, y, denoise, noise, sigmas, step, 25) for p in (by_fourier, by_matrix))
    inside = slice(128, -128)
    assert b[..., inside].std() > 0.5
    assert apart(a[..., inside], b[..., inside]) < 0.01


@each_case
@pytest.mark.parametrize("relative", [2.0001, 2.5, 0.0, -1.0, float("nan")])
def test_a_diverging_step_is_refused_with_both_numbers(
    backend: Backend, geometry: TiltGeometry, relative: float
) -> None:
    a = backend(geometry)
    step, limit = relative / a.norm**2, 2 / a.norm**2
    with pytest.raises(StepError) as caught:
        a.gradient_steps(sinograms(geometry), step, 10)
    message = str(caught.value)
    assert message.startswith(f"method.step: {step:.4g} ")
    assert f"{limit:.4g}" in message
    assert "\n" not in message


@each_case
def test_a_step_just_below_the_limit_never_grows(backend: Backend, geometry: TiltGeometry) -> None:
    a, x = backend(geometry), slices(geometry)
    descend = a.gradient_steps(torch.zeros_like(sinograms(geometry)), 1.9999 / a.norm**2, 2000)
    assert descend(x).norm() <= x.norm()


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
