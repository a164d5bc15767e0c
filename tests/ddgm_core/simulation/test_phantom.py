"""The phantom is reproducible, isotropic, and built like neuropil."""

import numpy as np
import pytest
from scipy import ndimage

from ddgm.core.simulation.phantom import neuropil


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return neuropil((96, 96, 96), seed=3)


def test_same_seed_gives_the_same_bytes() -> None:
    assert np.array_equal(neuropil((24, 32, 40), seed=5), neuropil((24, 32, 40), seed=5))


def test_seeds_give_unrelated_volumes() -> None:
    first, second = (neuropil((48, 48, 48), seed=seed).ravel() for seed in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 41, 22), (50, 8, 13)])
def test_any_shape_from_eight_voxels_up(shape: tuple[int, int, int]) -> None:
    made = neuropil(shape)
    assert made.shape == shape
    assert made.dtype == np.uint8
    assert made.std() > 5


@pytest.mark.parametrize("shape", [(7, 64, 64), (64, 64, 0), (64, 64)])
def test_bad_shape_is_named_with_its_remedy(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(.*at least 8 voxels"):
        neuropil(shape)  # type: ignore[arg-type]


def test_no_axis_is_preferred(volume: np.ndarray) -> None:
    steps = [np.abs(np.diff(volume.astype(float), axis=axis)) for axis in range(3)]
    means = np.array([step.mean() for step in steps])
    tails = np.array([np.percentile(step, 99) for step in steps])
    assert np.ptp(means) < 0.1 * means.mean()
    assert np.ptp(tails) < 0.1 * tails.mean()


def test_no_lattice_shows(volume: np.ndarray) -> None:
    """The blocks of the computation leave no trace: every phase of them has the same gradients."""
    for axis in range(3):
        step = np.moveaxis(np.abs(np.diff(volume.astype(float), axis=axis)), axis, 0)
        phases = np.array([step[phase::4].mean() for phase in range(4)])
        assert np.ptp(phases) < 0.06 * phases.mean()


def test_grey_values_resemble_the_microscope(volume: np.ndarray) -> None:
    """Bounds around FIB-25, a fly's optic lobe: mean 130, deviation 34, mean gradient 8."""
    assert 115 < volume.mean() < 145
    assert 28 < volume.std() < 42
    assert 6 < np.abs(np.diff(volume.astype(float), axis=0)).mean() < 10
    assert np.percentile(volume, 1) > 50
    assert np.percentile(volume, 99) < 225


def test_dark_membranes_part_bright_cells(volume: np.ndarray) -> None:
    """Cut along its dark voxels, the volume falls into many cells; uncut, it is one."""
    bright = ndimage.gaussian_filter(volume.astype(float), 0.5) > 145
    labels = np.asarray(ndimage.label(bright)[0])  # type: ignore[index]
    sizes = np.bincount(labels.ravel())[1:]
    assert (sizes > 100).sum() > 40
    assert sizes.max() < 0.6 * bright.sum()


def test_calibres_vary_and_large_profiles_hold_dark_mitochondria(volume: np.ndarray) -> None:
    smooth = ndimage.gaussian_filter(volume.astype(float), 1.5)
    ball = np.linalg.norm(np.indices((9, 9, 9)) - 4, axis=0) <= 4
    wide_dark = ndimage.binary_erosion(smooth < 100, ball)
    wide_bright = ndimage.binary_erosion(smooth > 140, ball)
    assert wide_dark.mean() > 0.001
    assert wide_bright.mean() > 0.02
