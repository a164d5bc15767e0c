"""Patches: from everywhere, in all orientations, each a function of its number alone."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice, permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ddgm.core.networks.conditions import Conditions
from ddgm.core.training.brick_schedule import BrickSchedule
from ddgm.core.training.data import (
    Drawing,
    NoisyPatches,
    PatchError,
    PatchSource,
    SequentialBatches,
    TiltedSlices,
    random_patch,
    random_slices,
)
from tests.ddgm_core.training.trainings import RECIPE, grey, patches


def flat(value: int) -> np.ndarray:
    return np.full((9, 9, 9), value, np.uint8)


def flat_patches(seed: int = 0) -> NoisyPatches:
    """Of flat volumes at 0 and 100, three to one, so that noise and image can be told apart."""
    volumes = tuple(PatchSource(str(v), [flat(v)], s) for v, s in ((0, 3.0), (100, 1.0)))
    return NoisyPatches(Drawing(volumes, mean=0.0, std=1.0, seed=seed), patch=8)


def same(a: tuple[Tensor, Tensor, np.float32], b: tuple[Tensor, Tensor, np.float32]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and a[2] == b[2]


@pytest.mark.parametrize("shape", [(15, 15, 99), (99, 15, 15), (15, 15, 15), (1, 99, 15)])
def test_a_volume_smaller_than_a_patch_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(PatchError, match=r"z \d+, y \d+, x \d+ voxels holds no patch of 16 x 16"):
        random_patch(grey(*shape), 16, np.random.default_rng(0))


def test_two_axes_of_a_patch_are_enough() -> None:
    assert random_patch(grey(16, 1, 16), 16, np.random.default_rng(0)).shape == (1, 16, 16)


def test_patches_come_in_all_planes_and_orientations_and_from_everywhere() -> None:
    z, y, x = np.indices((10, 10, 10))
    volume = (10_000 * z + 100 * y + x).astype(np.int32)
    rng = np.random.default_rng(0)
    drawn = [random_patch(volume, 8, rng)[0] for _ in range(800)]
    steps = {(int(p[1, 0] - p[0, 0]), int(p[0, 1] - p[0, 0])) for p in drawn}
    units = permutations((1, 100, 10_000), 2)
    assert steps == {(s * a, t * b) for (a, b), s, t in product(units, (1, -1), (1, -1))}
    assert {int(p.min()) % 10 for p in drawn} >= {0, 1, 2}  # starts along x
    assert {int(v) for p in drawn for v in (p.min(), p.max())} >= {0, volume.max()}


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    forward = [patches()[i] for i in range(12)]
    again = patches()
    for i in (7, 0, 11, 7, 3):
        assert same(again[i], forward[i])
    other = flat_patches(seed=6)
    assert not torch.equal(flat_patches(seed=5)[0][1], other[0][1])
    assert not torch.equal(other[0][1], other[1][1])


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 3])
def test_loader_processes_change_nothing(workers: int) -> None:
    """Not the batches, nor their order."""

    def batches(workers: int) -> list[list[Tensor]]:
        loader = DataLoader(
            patches(), batch_sampler=SequentialBatches(3, start=2), num_workers=workers
        )
        return list(islice(loader, 7))

    for found, expected in zip(batches(workers), batches(0), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_noise_is_normal_and_of_log_uniform_levels_and_volumes_have_their_shares() -> None:
    samples = flat_patches()
    fits, sigmas = [], []
    for i in range(1000):
        noisy, noise, sigma = samples[i]
        assert noisy.shape == noise.shape == (1, 8, 8)
        assert noisy.dtype == noise.dtype == torch.float32
        fits.append(np.polyfit(noise.double().ravel().numpy(), noisy.double().ravel().numpy(), 1))
        sigmas.append(float(sigma))
    found, levels = np.array(fits).T
    assert found == pytest.approx(sigmas, rel=1e-3)
    assert min(sigmas) >= 0.03 * (1 - 1e-6)
    assert max(sigmas) <= 30 * (1 + 1e-6)
    quantiles = np.log(np.quantile(sigmas, [0.25, 0.5, 0.75]) / 0.03) / math.log(1000)
    assert quantiles == pytest.approx([0.25, 0.5, 0.75], abs=0.05)
    assert (levels > 50).mean() == pytest.approx(0.25, abs=0.05)  # by share
    assert np.abs(levels - 100 * (levels > 50)).max() < 1e-3
    noise = torch.stack([samples[i][1] for i in range(100)])
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.03)


def test_patches_are_normalised() -> None:
    drawn = NoisyPatches(Drawing((PatchSource("", [flat(140)]),), mean=100.0, std=20.0), patch=8)
    noisy, noise, sigma = drawn[0]
    torch.testing.assert_close(
        noisy - float(sigma) * noise, torch.full((1, 8, 8), 2.0), atol=1e-4, rtol=0
    )


def test_a_volume_that_rotates_is_drawn_from_the_bricks_of_its_turn() -> None:
    """By its share: half of the patches are its own, so its turns take twice as many."""
    schedule = BrickSchedule(count=6, resident=2, turnover=10)
    rotating = PatchSource("rotating", [flat(10 * k) for k in range(1, 7)], 0.5, schedule)
    volumes = rotating, PatchSource("", [flat(200)], 0.5)
    drawn = NoisyPatches(Drawing(volumes, 0.0, 1.0), patch=8)
    seen: set[int] = set()
    for i in range(200):
        noisy, noise, sigma = drawn[i]
        level = round(float((noisy - float(sigma) * noise).mean()))
        if level != 200:
            assert level // 10 - 1 in schedule.window(i // 2)
            seen.add(level)
    assert seen == {10, 20, 30, 40, 50, 60}


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_devices_together_take_every_number_once(devices: int) -> None:
    rows = [islice(SequentialBatches(4, 0, d, devices), 5) for d in range(devices)]
    taken = [n for batches in zip(*rows, strict=True) for batch in batches for n in batch]
    assert taken == list(range(4 * 5 * devices))


def test_a_start_goes_on_where_the_batches_before_ended() -> None:
    whole = list(islice(SequentialBatches(4, 0, 1, 2), 9))
    assert list(islice(SequentialBatches(4, 6, 1, 2), 3)) == whole[6:]


def test_neighbours_are_those_of_the_volume_in_all_orientations() -> None:
    z, y, x = np.indices((10, 10, 10))
    volume = (10_000 * z + 100 * y + x).astype(np.int32)
    rng = np.random.default_rng(0)
    drawn = [random_patch(volume, 8, rng, channels=3) for _ in range(400)]
    assert {p.shape for p in drawn} == {(3, 8, 8)}
    steps = {tuple(int(np.diff(p, axis=a).flat[0]) for a in range(3)) for p in drawn}
    signs = list(product((1, -1), repeat=3))
    assert steps == {
        tuple(s * u for s, u in zip(sign, units, strict=True))
        for units in permutations((1, 100, 10_000))
        for sign in signs
    }
    with pytest.raises(PatchError, match="z 10, y 2, x 10 voxels holds no patch of 8 x 8 x 3"):
        random_patch(volume[:, :2], 8, rng, channels=3)


def test_the_noise_is_the_middle_ones() -> None:
    source = Drawing((PatchSource("flat", [flat(0)]),), mean=0.0, std=1.0)
    noisy, noise, sigma = NoisyPatches(source, patch=8, channels=3)[0]
    assert (noisy.shape, noise.shape) == ((3, 8, 8), (1, 8, 8))
    assert torch.allclose(noisy[1:2], float(sigma) * noise)
    assert not torch.allclose(noisy[0], noisy[2])


def test_slices_take_any_two_axes_and_may_be_flipped() -> None:
    z, y, x = np.indices((6, 9, 12))
    volume = (10_000 * z + 100 * y + x).astype(np.int32)
    rng = np.random.default_rng(0)
    drawn = [random_slices(volume, (5, 9), rng) for _ in range(300)]
    assert {p.shape for p in drawn} == {(1, 5, 9)}
    steps = {tuple(int(np.diff(p[0], axis=a).flat[0]) for a in range(2)) for p in drawn}
    fitting = [(10_000, 100), (10_000, 1), (100, 1), (1, 100)]  # 5 of any axis, 9 of y or x
    assert steps == {(a * s, b * t) for a, b in fitting for s, t in product((1, -1), repeat=2)}
    with pytest.raises(PatchError, match="z 6, y 9, x 12 voxels holds no slice of 7 x 13"):
        random_slices(volume, (7, 13), rng)


def test_neighbouring_slices_follow_each_other_either_way() -> None:
    z, y, x = np.indices((6, 9, 12))
    volume = (10_000 * z + 100 * y + x).astype(np.int32)
    rng = np.random.default_rng(0)
    drawn = [random_slices(volume, (5, 9), rng, 7) for _ in range(300)]
    assert {p.shape for p in drawn} == {(7, 5, 9)}
    steps = {tuple(int(np.diff(p, axis=a).flat[0]) for a in range(3)) for p in drawn}
    fitting = [(1, 10_000, 100), (100, 10_000, 1)]  # 7 of any axis but z
    ways = list(product((1, -1), repeat=3))
    assert steps == {(a * r, b * s, c * t) for a, b, c in fitting for r, s, t in ways}
    with pytest.raises(PatchError, match="holds no slice of 5 x 9 x 13; give a larger box"):
        random_slices(volume, (5, 9), rng, 13)


def test_tilted_slices_come_with_unit_noise_of_their_sinograms() -> None:
    conditions = Conditions("lateral", thickness=8, width=16, views=5)
    source = Drawing((PatchSource("", [grey(10, 20, 20)]),), mean=100.0, std=20.0)
    drawn = TiltedSlices(source, replace(RECIPE, restores=conditions))
    x, noise = drawn[3]
    assert x.shape == (1, 8, 16)
    assert noise.shape == (1, 5, conditions.geometry.bins)
    levels = x * 20 + 100
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    everything = torch.cat([drawn[i][1].flatten() for i in range(40)])
    assert float(everything.std()) == pytest.approx(1, abs=0.03)
    assert torch.equal(drawn[3][1], noise)
    assert not torch.equal(drawn[4][1], noise)
