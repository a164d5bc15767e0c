"""Gradient steps are the explicit loop, however few matrices they take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ddgm.core.geometry import TiltGeometry, reach
from ddgm.core.methods.samplers import ddgm
from ddgm.core.methods.schedules import log_linear
from ddgm.core.projectors import FourierProjector, MatrixProjector, StepError, fourier
from ddgm.core.simulation.noise import NoiseField
from tests.ddgm_core.projectors.operators import (
    ASYMMETRIC,
    GEOMETRIES,
    LATERAL,
    Backend,
    apart,
    dense,
    each_case,
    each_lateral,
    periodic,
    sinograms,
    slices,
    white,
)


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
