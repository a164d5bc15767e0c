"""Simulated tilts that differ from what reconstructs them: by kernel, by view, by electrons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.geometry import Detector, TiltGeometry
from ddgm.core.numbers import NumberError
from ddgm.core.projectors import MatrixProjector
from ddgm.core.projectors.ray_sums import ray_sums
from ddgm.core.projectors.simulated import simulated
from ddgm.core.simulation.acquisition import CONTRAST, Acquisition, parsed, view_errors
from ddgm.core.simulation.noise import SliceOrigin
from ddgm.core.simulation.phantom import neuropil
from ddgm.core.simulation.tilt_series import tilt_series

PLACES: list[SliceOrigin] = [(0, 0, 7), (0, 0, 8), (64, 0, 8)]  # two slices of a slab, and another


def geometry(detector: Detector = "lateral", aspect: float = 1.0) -> TiltGeometry:
    return TiltGeometry.uniform(24, 40, 9, (-60, 60), detector, aspect)


@pytest.fixture(scope="module")
def x() -> Tensor:
    grey = neuropil((24, 40, 8))[:, :, :3].transpose(2, 0, 1)
    return torch.from_numpy((grey - np.float32(130)) / np.float32(34))


def series(x: Tensor, noise: float = 0.0, seed: int = 0, **keys: object) -> np.ndarray:
    acquisition = Acquisition(**keys)  # type: ignore[arg-type]
    a = MatrixProjector(geometry())
    return simulated(a, x, noise, seed, PLACES, acquisition).numpy()


@pytest.mark.parametrize("aspect", [1.0, 2.5])
@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_rays_of_the_matrixs_kernel_sum_to_what_the_matrix_makes(
    x: Tensor, detector: Detector, aspect: float
) -> None:
    g = geometry(detector, aspect)
    wanted = MatrixProjector(g).forward(x).numpy()
    np.testing.assert_allclose(ray_sums(x.numpy(), g), wanted, atol=1e-4 * abs(wanted).max())


@pytest.mark.parametrize("kernel", ["line", "strip"])
@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_other_kernels_differ_by_little_and_by_something(
    x: Tensor, detector: Detector, kernel: str
) -> None:
    g = geometry(detector)
    ours, theirs = ray_sums(x.numpy(), g), ray_sums(x.numpy(), g, kernel, 2)
    off = np.sqrt(((theirs - ours) ** 2).mean() / (ours**2).mean())
    assert 1e-3 < off < 0.05
    upright = g.views // 2  # there a pixel falls on one bin, whatever the kernel
    np.testing.assert_allclose(theirs[:, upright], ours[:, upright], atol=1e-3)


def test_an_acquisition_without_errors_is_eq_3(x: Tensor) -> None:
    wanted = tilt_series(MatrixProjector(geometry()).forward, x, 4.1, 3, PLACES).numpy()
    np.testing.assert_allclose(series(x, 4.1, 3), wanted, atol=1e-4 * abs(wanted).max())


def test_a_shift_of_a_bin_moves_the_data_by_one(x: Tensor) -> None:
    moved = ray_sums(x.numpy(), geometry(), shift=np.ones(9))
    still = ray_sums(x.numpy(), geometry())
    np.testing.assert_allclose(moved[..., :-1], still[..., 1:], atol=1e-3)


def test_each_view_has_its_gain_its_offset_and_its_tilt(x: Tensor) -> None:
    changed = Acquisition(shift=0.5, angle=0.3, gain=0.1, offset=5)
    found = simulated(MatrixProjector(geometry()), x[:1], 0.0, 2, PLACES[:1], changed).numpy()
    errors = view_errors(changed, 9, 2, PLACES[0])
    tilts = tuple(a + e for a, e in zip(geometry().angles, errors.angle, strict=True))
    sums = ray_sums(x[:1].numpy(), replace(geometry(), angles=tilts), shift=errors.shift)
    wanted = errors.gain[:, None] * sums + errors.offset[:, None]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    assert np.degrees(errors.angle).std() == pytest.approx(0.3, rel=0.6)
    assert (errors.gain - 1).std() == pytest.approx(0.1, rel=0.6)


def test_errors_are_a_slabs_and_do_not_depend_on_what_is_simulated_at_once(x: Tensor) -> None:
    one = x[:1].expand(3, -1, -1)
    y = series(one, shift=1.0, gain=0.1)
    np.testing.assert_array_equal(y[0], y[1])
    assert abs(y[2] - y[0]).max() > 1
    assert abs(series(one, seed=1, shift=1.0, gain=0.1)[0] - y[0]).max() > 1
    a, changed = MatrixProjector(geometry()), Acquisition(shift=1.0, dose=100.0)
    whole = simulated(a, x, 0.0, 0, PLACES, changed)
    alone = [simulated(a, x[i : i + 1], 0.0, 0, PLACES[i : i + 1], changed) for i in range(3)]
    assert torch.equal(whole, torch.cat(alone))


def test_electrons_are_counted_with_poissons_noise_and_no_other() -> None:
    empty, dose = torch.zeros(1, 24, 4000), 1e5
    g = TiltGeometry.uniform(24, 4000, 1, (0, 0), "lateral")
    counted = Acquisition(dose=dose)
    y = simulated(MatrixProjector(g), empty, 1e3, 0, PLACES[:1], counted)[0, 0, 1:-1].numpy()
    sd = 24 / CONTRAST * np.sqrt(np.e / dose)  # of the logarithm of a count, in units of Ax
    assert y.mean() == pytest.approx(0, abs=4 * sd / 4000**0.5)
    assert y.std() == pytest.approx(sd, rel=0.05)


def test_a_few_electrons_give_finite_data_and_many_give_ax(x: Tensor) -> None:
    assert np.isfinite(series(x, dose=0.1)).all()
    many, wanted = series(x, dose=1e12), series(x)
    np.testing.assert_allclose(many, wanted, atol=0.02)


def test_an_acquisition_is_written_as_it_is_read() -> None:
    given = Acquisition(kernel="strip", subsampling=4, shift=0.5, dose=6e4)
    assert parsed(given.described) == given
    assert parsed("shift=0.5").described == "kernel=linear:shift=0.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel=striped", "kernel: striped is none; choose of linear, line, strip"),
        ("subsampling=3", "subsampling: 3 is none; choose of 1, 2, 4"),
        ("dose=-1", "dose: -1.0 must be above 0"),
        ("shift=nan", "shift: nan must be a number"),
        ("shift=much", "shift: 'much' must be a number"),
        ("tilt=1", "'tilt' is none of kernel, subsampling"),
        ("", "'' is none of kernel"),
    ],
)
def test_nonsense_is_refused_by_name_and_value(text: str, message: str) -> None:
    with pytest.raises(NumberError) as error:
        parsed(text)
    assert message in str(error.value)
