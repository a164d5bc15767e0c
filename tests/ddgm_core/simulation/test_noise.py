"""Noise depends on where it falls, and on nothing else."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from ddgm.core.simulation.noise import NoiseField, SliceOrigin

FIELD = NoiseField(seed=7, purpose="sampler")
FAR = 2**31 - 1
FAR_PLACES = [(z, y, x) for z in (FAR, -FAR) for y in (FAR, -FAR) for x in (FAR, -FAR)]
NEAR = (-1, 0, 1)
NEAR_PLACES = [(z, y, x) for z in NEAR for y in NEAR for x in NEAR]
PLACES: list[SliceOrigin] = [*NEAR_PLACES, *FAR_PLACES]


def pairs_of(values: np.ndarray) -> np.ndarray:
    """Each run of two numbers as one word: a single float32 may recur by chance, two do not."""
    return np.stack([values[:-1], values[1:]], axis=1).copy().view(np.uint64).ravel()


@pytest.mark.parametrize("batch", [1, 2, 5, 35])
def test_a_slice_gets_the_same_noise_in_any_batch(batch: int) -> None:
    whole = torch.stack([torch.from_numpy(FIELD.slice((6, 5), p, step=3)) for p in PLACES])
    cut = [FIELD.batch((6, 5), PLACES[i : i + batch], 3) for i in range(0, len(PLACES), batch)]
    assert torch.equal(torch.cat(cut), whole)


def test_order_does_not_matter() -> None:
    backwards = FIELD.batch((6, 5), PLACES[::-1])
    assert torch.equal(backwards.flip(0), FIELD.batch((6, 5), PLACES))


def test_seed_purpose_step_and_each_coordinate_give_unrelated_noise() -> None:
    shape = (64, 64)
    drawn = [FIELD.slice(shape, p) for p in PLACES]
    drawn += [FIELD.slice(shape, (0, 0, 0), step) for step in (1, 2, 1000)]
    others = [NoiseField(s, "sampler") for s in (8, -7, -8, 2**62, 2**62 + 1)]
    drawn += [f.slice(shape, (0, 0, 0)) for f in (*others, NoiseField(7, "sinogram"))]
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in combinations(drawn, 2)]
    assert np.abs(correlations).max() < 5 / 64


def test_noise_is_white_gaussian_of_unit_variance() -> None:
    noise = FIELD.batch((100, 100), [(0, 0, k) for k in range(10)]).double().numpy()
    assert abs(noise.mean()) < 4 / noise.size**0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.size) ** 0.5
    assert abs((noise**4).mean() - 3) < 4 * (96 / noise.size) ** 0.5
    for axis in range(3):
        moved = np.moveaxis(noise, axis, 0)
        assert abs((moved[1:] * moved[:-1]).mean()) < 4 / noise.size**0.5


@pytest.mark.parametrize("other", [((0, 0, 1), 0), ((0, 1, 0), 0), ((1, 0, 0), 0), ((0, 0, 0), 1)])
def test_streams_of_neighbours_do_not_overlap(other: tuple[SliceOrigin, int]) -> None:
    """A counter that started a little further on would give the same numbers, shifted."""
    here, there = FIELD.slice((100_000,), (0, 0, 0)), FIELD.slice((100_000,), *other)
    assert np.intersect1d(pairs_of(here), pairs_of(there)).size == 0
    assert np.intersect1d(pairs_of(here), pairs_of(here[5:])).size > 90_000


def test_noise_is_float32_of_the_shape_asked_for() -> None:
    noise = FIELD.batch((3, 4), PLACES[:2])
    assert noise.shape == (2, 3, 4)
    assert noise.dtype == torch.float32
