"""Pixels that are not square: both projectors against a ray sum of their own, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ddgm.core.geometry import Detector, GeometryError, TiltGeometry
from ddgm.core.methods.least_squares import filtered_back_projection
from ddgm.core.projectors import FourierProjector, MatrixProjector, projector
from ddgm.core.projectors.astra_matrix import projection_matrix
from ddgm.core.projectors.dense import DenseProjector
from tests.ddgm_core.projectors.operators import apart, dense, sinograms, slices

SIZE = 24, 60
EACH = pytest.mark.parametrize("detector", ["lateral", "perpendicular"])


def smooth_slice(thickness: int, width: int) -> np.ndarray:
    """Blurred noise on grey, which fades out across: (thickness, width), float64."""
    noise = np.random.default_rng(0).standard_normal((thickness, width))
    x = gaussian_filter(noise, (2, 3))
    return (x / x.std() + 1) * np.hanning(width)


def ray_sums(x: np.ndarray, g: TiltGeometry, fine: int = 8, linear: bool = False) -> np.ndarray:
    """Sums along the beams through pixels of one grey each, (views, bins), in float64.

    Pixels are `aspect` deep and 1 across. Each bin is the mean of `fine` beams. With `linear`, grey
    levels are interpolated between rows, and bins are beams through their middles.
    """
    sums = np.zeros((g.views, g.bins))
    depth = g.thickness * g.aspect
    for view, angle in enumerate(g.angles):
        count = 1 if linear else fine
        bins = (np.arange(g.bins * count) + 0.5) / count - g.bins / 2
        middle = bins if g.detector == "lateral" else bins / np.cos(angle)
        points = g.thickness * fine * (1 + int(abs(g.aspect * np.tan(angle))))
        for z in (np.arange(points) + 0.5) / points * depth - depth / 2:
            columns = middle + z * np.tan(angle) + g.width / 2
            row = (z + depth / 2) / g.aspect
            grey = _between(x, row - 0.5) if linear else x[int(row)]
            inside = (columns >= 0) & (columns < g.width)
            if linear:
                line = np.interp(columns - 0.5, np.arange(g.width), grey)
            else:
                line = grey[np.clip(columns.astype(int), 0, g.width - 1)]
            values = np.where(inside, line, 0).reshape(g.bins, count).mean(1)
            sums[view] += values * (depth / points) / np.cos(angle) / g.aspect
    return sums


def _between(x: np.ndarray, row: float) -> np.ndarray:
    low = int(np.floor(row))
    parts = [x[i] if 0 <= i < len(x) else 0 * x[0] for i in (low, low + 1)]
    return parts[0] * (low + 1 - row) + parts[1] * (row - low)


def errors(a: MatrixProjector | FourierProjector, x: np.ndarray, expected: np.ndarray) -> list:
    y = a.forward(torch.from_numpy(x).float()[None])[0].double().numpy()
    return [
        float(np.linalg.norm(mine - right) / np.linalg.norm(right))
        for mine, right in zip(y, expected, strict=True)
    ]


@EACH
@pytest.mark.parametrize("aspect", [1.0, 0.1, 0.4, 2.5])
def test_both_projectors_are_the_ray_sum_to_the_kernels_error(
    aspect: float, detector: Detector
) -> None:
    g = TiltGeometry.uniform(*SIZE, 5, (-60, 60), detector, aspect)
    x = smooth_slice(*SIZE)
    right = ray_sums(x, g)
    for backend in [MatrixProjector] + [FourierProjector] * (detector == "lateral"):
        assert max(errors(backend(g), x, right)) < 0.007


@EACH
def test_ten_to_one_is_the_ray_sum_to_the_kernels_error(detector: Detector) -> None:
    """Against pixels of one grey, and rows interpolated between as the kernel does it."""
    g = TiltGeometry.uniform(*SIZE, 5, (-60, 60), detector, 10.0)
    x = smooth_slice(*SIZE)
    faded = x * np.hanning(SIZE[0])[:, None]  # no edges within half a row of which the kernel ends
    for backend in [MatrixProjector] + [FourierProjector] * (detector == "lateral"):
        a = backend(g)
        by_tilt = errors(a, x, ray_sums(x, g))
        assert by_tilt[2] < 1e-6
        assert max(by_tilt[1], by_tilt[3]) < 0.03
        assert max(by_tilt[0], by_tilt[4]) < 0.1
        assert max(errors(a, faded, ray_sums(faded, g, linear=True))) < 0.003


@EACH
def test_squares_are_astras_own_geometry_to_the_bit(detector: Detector) -> None:
    import astra

    g = TiltGeometry.uniform(12, 20, 7, (-30, 70), detector)
    angles, zero, one = np.array(g.angles), np.zeros(7), np.ones(7)
    vectors = np.stack([np.sin(angles), -np.cos(angles), zero, zero, one, zero], axis=1)
    views = {
        "perpendicular": astra.create_proj_geom("parallel", 1.0, g.bins, angles),
        "lateral": astra.create_proj_geom("parallel_vec", g.bins, vectors),
    }
    slice_of = astra.create_vol_geom(g.thickness, g.width)
    theirs = astra.projector.matrix(astra.create_projector("linear", views[detector], slice_of))
    assert (astra.matrix.get(theirs).astype(np.float32) != projection_matrix(g)).nnz == 0


@EACH
def test_a_beam_at_tilt_0_is_the_sum_over_rows_whatever_the_sides(detector: Detector) -> None:
    g = TiltGeometry.uniform(12, 20, 1, (0, 0), detector)
    x = slices(g)
    for aspect in (0.1, 1.0, 2.5, 10.0):
        y = projector(replace(g, aspect=aspect)).forward(x)[:, 0]
        side = (g.bins - g.width) // 2
        torch.testing.assert_close(y[:, side : side + g.width], x.sum(dim=1))


@pytest.mark.parametrize("aspect", [0.1, 2.5, 10.0])
def test_backends_and_their_adjoints_agree(aspect: float) -> None:
    g = TiltGeometry.uniform(12, 20, 10, (-60, 60), "lateral", aspect)
    by_matrix, by_fourier = MatrixProjector(g), FourierProjector(g)
    x, y = slices(g), sinograms(g)
    assert apart(by_fourier.forward(x), by_matrix.forward(x)) < 5e-5
    assert apart(by_fourier.adjoint(y), by_matrix.adjoint(y)) < 5e-5
    left = (by_fourier.forward(x).double() * y).sum()
    assert left.item() == pytest.approx((by_fourier.adjoint(y).double() * x).sum().item(), rel=1e-4)


@pytest.mark.parametrize("aspect", [0.1, 2.5, 10.0])
@pytest.mark.parametrize("degrees", [(-60.0, 60.0), (-30.0, 60.0), (-70.0, 10.0)])
def test_lateral_bins_miss_nothing(aspect: float, degrees: tuple[float, float]) -> None:
    g = TiltGeometry.uniform(9, 7, 6, degrees, "lateral", aspect)
    wider = replace(g, bins=g.bins + 60)
    seen, all_of_it = (dense(one).reshape(one.views, one.bins, -1).sum(dim=1) for one in (g, wider))
    torch.testing.assert_close(seen, all_of_it, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("aspect", [0.4, 2.5])
def test_the_eigenvectors_of_small_slices_are_those_of_the_matrix(aspect: float) -> None:
    g = TiltGeometry.uniform(12, 20, 10, aspect=aspect)
    a, x, y = DenseProjector(g), slices(g), sinograms(g)
    step = 1 / a.norm**2
    slow = MatrixProjector(g).gradient_steps(y, step, 20)(x)
    assert apart(a.gradient_steps(y, step, 20)(x), slow) < 1e-3


@EACH
@pytest.mark.parametrize("aspect", [0.4, 1.0, 2.5])
def test_filtered_back_projection_keeps_grey_levels(aspect: float, detector: Detector) -> None:
    """As for squares: the mean of a disk is right, from tilts all around."""
    g = TiltGeometry.uniform(48, 96, 90, (-80, 80), detector, aspect)
    z, x = np.indices((48, 96)) + 0.5
    disk = ((z - 24) * aspect) ** 2 + (x - 48) ** 2 < 9**2
    truth = torch.from_numpy(disk).float()[None]
    a = MatrixProjector(g)
    found = filtered_back_projection(a, a.forward(truth))[0].numpy()
    assert found[disk].mean() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("aspect", [0.0, -1.0, float("nan"), float("inf")])
def test_sides_that_there_cannot_be_are_refused(aspect: float) -> None:
    with pytest.raises(GeometryError, match=r"aspect: .* must be above 0"):
        TiltGeometry.uniform(12, 20, aspect=aspect)
