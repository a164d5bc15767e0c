"""A training gives a prior that loads, and the same one after an interruption."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from itertools import islice, permutations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm_core.denoiser import load_prior
from ddgm_core.training import fit as fitting
from ddgm_core.training.data import NoisyPatches, Volume, fixed_patches, random_patch
from ddgm_core.training.fit import Recipe, fit, statistics
from ddgm_core.training.module import (
    VALIDATION_SIGMAS,
    NoisePrediction,
    noise_errors,
    warmup_cosine,
)
from ddgm_core.unet import Architecture

TINY = Architecture(width=8, levels=3, convolutions=2)
RECIPE = Recipe(TINY, steps=8, batch=2, warmup=2, patch=16, precision="32-true")


def grey(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def train(folder: Path, recipe: Recipe = RECIPE, **more: Any) -> Path:
    volumes = [Volume("a", grey(20, 24, 28), 0.5), Volume("b", grey(16, 16, 16, seed=1), 0.5)]
    return fit(recipe, volumes, [v.data for v in volumes], folder, "random numbers", **more)


def weights(path: Path) -> dict[str, Tensor]:
    return load_prior(str(path)).network.state_dict()


Step = Callable[[NoisePrediction, tuple[Tensor, Tensor], int], Tensor]


def counted(steps: list[int], step: Step = NoisePrediction.training_step) -> Step:
    def stepping(self: NoisePrediction, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        steps.append(self.global_step)
        return step(self, batch, batch_idx)

    return stepping


def killed_at(last: int, step: Step = NoisePrediction.training_step) -> Step:
    def dying(self: NoisePrediction, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if self.global_step == last:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    return dying


def logs(folder: Path) -> list[dict[str, str]]:
    """Rows of all logs of a training, in order."""
    files = sorted(folder.rglob("metrics.csv"))
    return [row for f in files for row in csv.DictReader(f.read_text().splitlines())]


def constant_patches(**more: Any) -> NoisyPatches:
    """Patches of flat volumes at 0 and 100, so that noise and image can be told apart."""
    volumes = [Volume(str(v), np.full((9, 9, 9), v, np.uint8), s) for v, s in ((0, 3), (100, 1))]
    return NoisyPatches(volumes, mean=0.0, std=1.0, patch=8, **more)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a training of eight steps."""
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_a_training_writes_a_prior_with_its_card(undisturbed: Path) -> None:
    card = load_prior(str(undisturbed)).card
    voxels = np.concatenate([grey(20, 24, 28).ravel(), grey(16, 16, 16, seed=1).ravel()])
    assert card.mean == pytest.approx(voxels.mean())
    assert card.std == pytest.approx(voxels.std())
    assert card.architecture == TINY
    assert card.patch == 16
    assert card.training["steps"] == 8
    assert card.training["origin"] == "random numbers"
    assert card.training["volumes"] == {"a": 0.5, "b": 0.5}


def test_training_moves_every_weight(undisturbed: Path) -> None:
    start = NoisePrediction(TINY, 8).network.state_dict()
    assert all(bool((v != start[k]).any()) for k, v in weights(undisturbed).items())


def test_an_interrupted_training_ends_where_an_undisturbed_one_does(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after step 6 with a checkpoint at step 4, and validated: the same, bit by bit."""
    monkeypatch.setattr(fitting, "CHECKPOINT_STEPS", 4)
    monkeypatch.setattr(fitting, "VALIDATION_STEPS", 3)
    held = grey(16, 16, 16, seed=2)
    with monkeypatch.context() as dying:
        dying.setattr(NoisePrediction, "training_step", killed_at(6))
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path, validation=held)
    assert not (tmp_path / "prior.safetensors").exists()
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    steps: list[int] = []
    monkeypatch.setattr(NoisePrediction, "training_step", counted(steps))
    resumed, whole = weights(train(tmp_path, validation=held)), weights(undisturbed)
    assert steps == [4, 5, 6, 7]
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)
    logged = [int(row["step"]) for row in logs(tmp_path) if row["error_30"]]
    assert logged == [2, 5, 5]  # the first part's log is kept


def test_the_average_is_of_the_weights_after_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after: list[Tensor] = []
    modules: list[NoisePrediction] = []

    def watched(module: NoisePrediction, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        modules.append(module)
        after.append(module.network.head.weight.detach().clone())
        return step(module, batch, batch_idx)

    step = NoisePrediction.training_step
    monkeypatch.setattr(NoisePrediction, "training_step", watched)
    path = train(tmp_path)
    average, *after = *after, modules[-1].network.head.weight.detach()
    for n, weight in enumerate(after, 1):
        average = average + (weight - average) * 9 / (10 + n)
    assert torch.allclose(weights(path)["head.weight"], average, atol=1e-6)
    assert not torch.allclose(average, after[-1], atol=1e-4)


def test_a_flat_volume_is_refused(tmp_path: Path) -> None:
    flat = np.full((20, 20, 20), 77, np.uint8)
    with pytest.raises(ValueError, match="all training voxels are equal"):
        fit(RECIPE, [Volume("flat", flat, 1)], [flat], tmp_path, "")


@pytest.mark.parametrize("value", [0, 1, 77, 255])
@pytest.mark.parametrize("sizes", [(1000,), (7, 11, 13)])
def test_flat_volumes_are_flat_at_any_level(value: int, sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="equal"):
        statistics([np.full((n, 3, 5), value, np.uint8) for n in sizes])


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6 / 7])
def test_flat_volumes_of_fractions_are_flat(value: float) -> None:
    with pytest.raises(ValueError, match="equal"):
        statistics([np.full((7, 11, 13), value, np.float32)])


def test_flat_volumes_that_differ_are_not_flat() -> None:
    volumes = [np.full((2, 2, 2), v, np.uint8) for v in (10, 20)]
    assert statistics(volumes) == pytest.approx((15.0, 5.0))


def test_statistics_are_over_voxels_not_over_volumes() -> None:
    volumes = [grey(3, 4, 5), grey(10, 11, 12, seed=1) // 2]
    voxels = np.concatenate([v.ravel() for v in volumes]).astype(np.float64)
    assert statistics(volumes) == pytest.approx((voxels.mean(), voxels.std()))


@pytest.mark.parametrize("shape", [(15, 15, 99), (99, 15, 15), (15, 15, 15), (1, 99, 15)])
def test_a_volume_smaller_than_a_patch_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="holds no patch of 16 x 16"):
        random_patch(grey(*shape), 16, np.random.default_rng(0))


def test_two_axes_of_a_patch_are_enough() -> None:
    patch = random_patch(grey(16, 1, 16), 16, np.random.default_rng(0))
    assert patch.shape == (16, 16)


def test_patches_come_in_all_planes_and_orientations_and_from_everywhere() -> None:
    z, y, x = np.indices((10, 10, 10))
    volume = (10_000 * z + 100 * y + x).astype(np.int32)
    rng = np.random.default_rng(0)
    patches = [random_patch(volume, 8, rng) for _ in range(800)]
    steps = {(int(p[1, 0] - p[0, 0]), int(p[0, 1] - p[0, 0])) for p in patches}
    units = permutations((1, 100, 10_000), 2)
    assert steps == {(s * a, t * b) for (a, b), s, t in product(units, (1, -1), (1, -1))}
    assert {int(p.min()) % 10 for p in patches} >= {0, 1, 2}  # starts along x
    assert {int(v) for p in patches for v in (p.min(), p.max())} >= {0, volume.max()}


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    samples = constant_patches(seed=5)
    for start in (0, 3, 11):
        drawn = islice(iter(constant_patches(seed=5, start=start)), 3)
        for i, (noisy, noise) in enumerate(drawn, start):
            expected = samples.sample(i)
            assert torch.equal(noisy, expected[0])
            assert torch.equal(noise, expected[1])
    assert not torch.equal(samples.sample(0)[1], constant_patches(seed=6).sample(0)[1])
    assert not torch.equal(samples.sample(0)[1], samples.sample(1)[1])


def test_more_than_one_loader_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    two = SimpleNamespace(num_workers=2)
    monkeypatch.setattr("ddgm_core.training.data.get_worker_info", lambda: two)
    with pytest.raises(ValueError, match="one loader process"):
        next(iter(constant_patches()))


def test_samples_are_images_with_noise_of_the_papers_levels() -> None:
    samples = constant_patches()
    fits = []
    for i in range(1000):
        noisy, noise = (t.double().ravel().numpy() for t in samples.sample(i))
        assert abs(noise.var() - 1) < 1
        fits.append(np.polyfit(noise, noisy, 1))
    sigmas, levels = np.array(fits).T
    assert sigmas.min() > 0.0299
    assert sigmas.max() < 30.01
    quantiles = np.log(np.quantile(sigmas, [0.25, 0.5, 0.75]) / 0.03) / math.log(1000)
    assert quantiles == pytest.approx([0.25, 0.5, 0.75], abs=0.05)
    assert (levels > 50).mean() == pytest.approx(0.25, abs=0.05)  # by share
    assert np.abs(levels - 100 * (levels > 50)).max() < 1e-3


def test_patches_are_normalised() -> None:
    volume = grey(40, 40, 40)
    patches = fixed_patches(volume, 64, float(volume.mean()), float(volume.std()), 16)
    assert patches.shape == (64, 1, 16, 16)
    assert patches.dtype == torch.float32
    assert abs(float(patches.mean())) < 0.05
    assert float(patches.std()) == pytest.approx(1, abs=0.05)


def test_fixed_patches_are_fixed() -> None:
    a, b = (fixed_patches(grey(20, 20, 20), 4, 0.0, 1.0, 16) for _ in range(2))
    assert torch.equal(a, b)


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [warmup_cosine(s, 1000, 100) for s in range(1001)]
    assert rates[0] == 0.01
    assert rates[99] == rates[100] == 1
    assert rates[550] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0)
    assert (np.diff(rates[:100]) > 0).all()
    assert (np.diff(rates[100:]) < 0).all()


def test_predicting_nothing_errs_by_one_at_each_level() -> None:
    errors = noise_errors(torch.zeros_like, torch.randn(32, 1, 16, 16))  # type: ignore[arg-type]
    assert tuple(errors) == VALIDATION_SIGMAS
    assert list(errors.values()) == pytest.approx([1.0] * 5, abs=0.1)


def test_errors_are_of_the_noise_that_was_added() -> None:
    """On black images the noisy image is the noise times σ: the best guess is exact."""
    black = torch.zeros(8, 1, 16, 16)
    errors = noise_errors(lambda x: x / 3.0, black)  # type: ignore[arg-type]
    assert errors[3.0] < 1e-10 < 1e-2 < min(errors[1.0], errors[10.0])
