"""Mean and standard deviation, however the voxels are cut."""

from __future__ import annotations

import numpy as np
import pytest

from ddgm.core.training.statistics import Moments, StatisticsError
from tests.ddgm_core.training.trainings import grey


def total(parts: list[np.ndarray]) -> Moments:
    return sum((Moments.of(p) for p in parts), Moments())


@pytest.mark.parametrize("cuts", [[], [1], [7, 8, 30], list(range(1, 40))])
def test_any_cut_gives_numpys(cuts: list[int]) -> None:
    data = grey(40, 9, 11)
    found = total(np.split(data, cuts))
    assert found.count == data.size
    assert (found.mean, found.std) == pytest.approx((data.mean(), data.std()), rel=1e-6)


def test_the_mean_is_over_voxels_not_over_parts() -> None:
    parts = [grey(3, 4, 5), grey(10, 11, 12, seed=1) // 2]
    voxels = np.concatenate([p.ravel() for p in parts]).astype(np.float64)
    found = total(parts)
    assert (found.mean, found.std) == pytest.approx((voxels.mean(), voxels.std()), rel=1e-6)


def test_nothing_changes_when_nothing_is_added() -> None:
    found = Moments.of(grey(5, 5, 5))
    assert found + Moments() == found == Moments() + found
    assert Moments() + Moments() == Moments()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_large_mean_cancels_nothing(dtype: str) -> None:
    """Sums of squares in float32, and in float64 over enough voxels, lose this deviation."""
    data = (60_000 + np.random.default_rng(0).integers(-1, 2, (30, 40, 50))).astype(dtype)
    found = total(np.array_split(data, 7))
    assert found.std == pytest.approx(float(data.std(dtype=np.float64)), rel=1e-4)


@pytest.mark.parametrize("sizes", [(1000,), (7, 11, 13)])
@pytest.mark.parametrize("value", [np.uint8(0), np.uint8(77), np.float32(0.1), np.float32(1e6 / 7)])
def test_equal_voxels_are_refused(value: np.generic, sizes: tuple[int, ...]) -> None:
    parts = [np.full((n, 3, 5), value) for n in sizes]
    with pytest.raises(StatisticsError, match="equal"):
        _ = total(parts).std


def test_flat_parts_that_differ_are_not_flat() -> None:
    found = total([np.full((2, 2, 2), v, np.uint8) for v in (10, 20)])
    assert (found.mean, found.std) == pytest.approx((15.0, 5.0))


def test_no_voxels_have_no_deviation() -> None:
    with pytest.raises(StatisticsError):
        _ = Moments().std


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_voxel_that_is_no_number_is_enough(value: float) -> None:
    data = grey(9, 9, 9).astype(np.float32)
    data[4, 5, 6] = value
    with pytest.raises(StatisticsError, match="NaN or infinite"):
        Moments.of(data)
