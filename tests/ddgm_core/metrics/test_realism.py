"""The three statistics, and their distances, on patches whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance

from ddgm.core.metrics.realism import (
    Distance,
    Realism,
    compare,
    gradient_magnitude,
    radial_power,
    spectrum_distance,
    wasserstein,
)
from ddgm.core.simulation.phantom import neuropil

N, SIDE = 12, 32


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    """(4 N, SIDE, SIDE) normalised patches of the phantom, in random order."""
    volume = neuropil((64, 128, 24), seed=5).astype(np.float32)
    tiles = volume.reshape(2, SIDE, 4, SIDE, 24).transpose(0, 2, 4, 1, 3).reshape(-1, SIDE, SIDE)
    drawn = np.random.default_rng(0).permutation(tiles)[: 4 * N]
    return (drawn - volume.mean()) / volume.std()


def scores(generated: np.ndarray, patches: np.ndarray) -> Realism:
    return compare(generated, patches[: 2 * N])


def times_real(d: Distance) -> float:
    return d.generated / d.real


def test_white_noise_has_its_variance_as_power_at_every_frequency() -> None:
    noise = 3 * np.random.default_rng(0).standard_normal((400, SIDE, SIDE)) + 50
    power = radial_power(noise)
    assert power.shape == (400, SIDE // 2)
    assert power.mean(axis=0)[1:] == pytest.approx(np.full(SIDE // 2 - 1, 9.0), rel=0.07)
    assert power[:, 1:].mean() == pytest.approx(9.0, rel=0.02)


@pytest.mark.parametrize("turned", [False, True])
def test_a_wave_has_its_power_at_its_own_frequency(turned: bool) -> None:
    wave = np.cos(2 * np.pi * 5 / SIDE * np.arange(SIDE))[None, None].repeat(SIDE, axis=1)
    power = radial_power(wave.swapaxes(1, 2) if turned else wave)[0]
    assert np.argmax(power) + 1 == 5
    assert power[8:].max() < 1e-6 * power.max()  # the window keeps it from leaking far


def test_gradients_of_a_plane_are_its_slope() -> None:
    plane = 3.0 * np.arange(8)[:, None] + 4.0 * np.arange(8) - 9
    assert gradient_magnitude(plane[None]) == pytest.approx(np.full((1, 7, 7), 5.0))


def test_one_decade_of_power_is_a_distance_of_one(patches: np.ndarray) -> None:
    power = radial_power(patches)
    assert spectrum_distance(power, power) == 0
    assert spectrum_distance(power, 10 * power) == pytest.approx(1.0)
    other = radial_power(patches[::-1, ::-1] ** 2)
    assert spectrum_distance(power, other) == spectrum_distance(other, power) > 0


def test_wasserstein_is_scipys_and_symmetric() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 50)), rng.exponential(size=(3, 50))
    assert wasserstein(a, b) == pytest.approx(wasserstein_distance(a.ravel(), b.ravel()))
    assert wasserstein(a, b) == wasserstein(b, a)
    with pytest.raises(ValueError, match="as many"):
        wasserstein(a, b[:2])


def test_a_constant_patch_is_far_and_no_error() -> None:
    flat, noise = np.zeros((2, SIDE, SIDE)), np.random.default_rng(0).random((4, SIDE, SIDE))
    result = compare(flat, noise)
    assert np.isfinite(result.spectrum.generated)
    assert times_real(result.spectrum) > 10


def test_real_patches_are_as_far_as_real_patches_are(patches: np.ndarray) -> None:
    result = scores(patches[2 * N : 3 * N], patches)
    for d in (result.spectrum, result.intensity, result.gradient):
        assert d.real > 0
        assert times_real(d) < 1.6


def test_white_noise_is_far_in_spectrum_and_gradient(patches: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal((N, SIDE, SIDE))
    result = scores(noise, patches)
    assert times_real(result.spectrum) > 5
    assert times_real(result.gradient) > 5


def test_blur_is_caught_by_the_spectrum_and_the_gradient(patches: np.ndarray) -> None:
    real = patches[2 * N : 3 * N]
    blurred = gaussian_filter(real, (0, 1, 1))
    assert times_real(scores(blurred, patches).spectrum) > 5
    assert times_real(scores(blurred, patches).gradient) > 5
    assert times_real(scores(gaussian_filter(real, (0, 2, 2)), patches).spectrum) > times_real(
        scores(blurred, patches).spectrum
    )


def test_a_shift_of_intensity_is_caught_by_intensity_alone(patches: np.ndarray) -> None:
    real, shift = patches[2 * N : 3 * N], 5.0
    before, after = scores(real, patches), scores(real + shift, patches)
    # beyond the values' own spread the distance is the difference of the means
    means = real.mean() + shift - patches[: 2 * N].mean()
    assert after.intensity.generated == pytest.approx(means, abs=1e-4)
    assert wasserstein(real, real + shift) == pytest.approx(shift, abs=1e-5)
    assert after.spectrum.generated == pytest.approx(before.spectrum.generated, abs=1e-4)
    assert after.gradient.generated == pytest.approx(before.gradient.generated, abs=1e-4)


def test_both_distances_are_means_over_the_same_halves(patches: np.ndarray) -> None:
    """Spelled out for one split."""
    ours, real = patches[2 * N : 3 * N], patches[: 2 * N]
    a, b = np.split(real[np.random.default_rng(0).permutation(2 * N)], 2)
    d = compare(ours, real, splits=1).intensity
    assert d.generated == pytest.approx((wasserstein(ours, a) + wasserstein(ours, b)) / 2)
    assert d.real == pytest.approx(wasserstein(a, b))


@pytest.mark.parametrize(("count", "side"), [(2 * N - 1, SIDE), (2 * N, SIDE - 1)])
def test_real_patches_must_be_twice_as_many_and_as_large(
    patches: np.ndarray, count: int, side: int
) -> None:
    with pytest.raises(ValueError, match="twice as many"):
        compare(patches[:N], patches[:count, :side, :side])
