"""A training comes to the same weights however it is disturbed, or says why it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.errors import Stopped
from ddgm.core.networks.unet import UNet, parameter_count
from ddgm.core.training.callbacks import TrainingError
from ddgm.core.training.data import Drawing, NoisyPatches, PatchSource
from ddgm.core.training.events import Event, Saved, Started, Stepped
from ddgm.core.training.fit import fit, multiply_adds
from ddgm.core.training.module import NoisePrediction
from ddgm.core.training.recipe import Recipe, RuntimeOptions
from tests.ddgm_core.training import trainings
from tests.ddgm_core.training.trainings import (
    KILLED_AT,
    RECIPE,
    RUNNING,
    TINY,
    Killed,
    Listener,
    grey,
    patches,
    train,
)

pytestmark = pytest.mark.train

Weights = dict[str, Tensor]
RECIPES = {
    "adam": RECIPE,
    "muon": replace(RECIPE, optimizer="muon"),
    "accumulate": replace(RECIPE, accumulate=2),
    "bfloat16": replace(RECIPE, precision="bfloat16"),
}


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(w, b[name]) for name, w in a.items())


def close(a: Weights, b: Weights) -> None:
    for name, w in a.items():
        torch.testing.assert_close(w, b[name], rtol=1e-3, atol=1e-5)


def program(how: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", trainings.__name__, how, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Weights]:
    """The weights that a recipe comes to."""
    kept: dict[str, Weights] = {}

    def weights(name: str) -> Weights:
        if name not in kept:
            kept[name] = train(tmp_path_factory.mktemp(name), RECIPES[name])
        return kept[name]

    return weights


def test_a_training_says_what_happens(tmp_path: Path) -> None:
    listener = Listener()
    train(tmp_path, observers=[listener])
    started, *events = listener.events
    assert isinstance(started, Started)
    assert (started.step, started.steps) == (0, RECIPE.steps)
    assert started.parameters == parameter_count(UNet(TINY))
    assert "CPU" in started.device
    assert [e.step for e in events if isinstance(e, Saved)] == [4, 8, 12, 14]
    assert list(listener.losses()) == [4, 8, 10, 12, 14]
    assert all(0.1 < loss < 5 for loss in listener.losses().values())
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_training_moves_every_weight(undisturbed: Callable[[str], Weights]) -> None:
    torch.manual_seed(RECIPE.seed)
    start = NoisePrediction(RECIPE).network.state_dict()
    assert all(bool((w != start[name]).any()) for name, w in undisturbed("adam").items())


@pytest.mark.parametrize("name", RECIPES)
def test_one_that_failed_between_checkpoints_ends_where_an_undisturbed_one_does(
    undisturbed: Callable[[str], Weights], tmp_path: Path, name: str
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, RECIPES[name], observers=[Listener(until=KILLED_AT)])
    assert checkpoint(tmp_path)["global_step"] == 8
    listener = Listener()
    resumed = train(tmp_path, RECIPES[name], observers=[listener])
    started = listener.events[0]
    assert isinstance(started, Started)
    assert started.step == 8
    assert list(listener.losses()) == [10, 12, 14]
    assert same(resumed, undisturbed(name))


def test_a_killed_process_costs_no_more_than_the_updates_since_its_checkpoint(
    undisturbed: Callable[[str], Weights], tmp_path: Path
) -> None:
    killed = program("killed", tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint(tmp_path)["global_step"] == 8
    assert same(train(tmp_path), undisturbed("adam"))


def test_the_process_of_a_training_that_failed_ends(tmp_path: Path) -> None:
    """Loaders that its error keeps alive end with it, though they do not heed signals."""
    assert program("failed", tmp_path).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_has_it_save_and_stop(
    undisturbed: Callable[[str], Weights], tmp_path: Path, number: int
) -> None:
    def send(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == KILLED_AT:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    with pytest.raises(Stopped, match="stopped after 11 of 14 updates, and saved"):
        train(tmp_path, observers=[send])
    assert signal.getsignal(number) is handler
    assert checkpoint(tmp_path)["global_step"] == 11
    assert same(train(tmp_path), undisturbed("adam"))


def test_one_that_was_done_is_done_again_at_once(
    undisturbed: Callable[[str], Weights], tmp_path: Path
) -> None:
    """As after an end between the last checkpoint and the weights' file."""
    train(tmp_path)
    listener = Listener()
    assert same(train(tmp_path, observers=[listener]), undisturbed("adam"))
    assert not listener.losses()


def test_loaders_and_checkpoints_change_nothing(
    undisturbed: Callable[[str], Weights], tmp_path: Path
) -> None:
    weights = train(tmp_path, options=RuntimeOptions(loaders=2, save_every=5))
    assert same(weights, undisturbed("adam"))


def test_parts_of_a_batch_change_no_more_than_rounding(
    undisturbed: Callable[[str], Weights], tmp_path: Path
) -> None:
    whole, halves = Listener(), Listener()
    close(train(tmp_path / "a", RECIPES["accumulate"], observers=[halves]), undisturbed("adam"))
    train(tmp_path / "b", observers=[whole])
    assert halves.losses() == pytest.approx(whole.losses(), rel=1e-3)


@pytest.mark.parametrize(("accumulate", "devices"), [(3, 1), (2, 4)])
def test_a_batch_that_cannot_be_shared_out_is_refused(
    tmp_path: Path, accumulate: int, devices: int
) -> None:
    recipe = replace(RECIPE, accumulate=accumulate)
    with pytest.raises(TrainingError, match="batch: 4 must be a multiple of accumulate x devices"):
        train(tmp_path, recipe, RuntimeOptions(devices=devices))


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: bytes | None) -> None:
    train(tmp_path, replace(RECIPE, steps=2))
    path = tmp_path / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000] if damage is None else damage)
    with pytest.raises(TrainingError, match="delete it to start anew") as caught:
        train(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_no_number_stops_it_and_the_last_good_checkpoint_is_kept(
    tmp_path: Path,
) -> None:
    """Update 7 is the first; the next look is at 8, and the checkpoint of 4 from before."""

    class Poisoned(NoisyPatches):
        def __getitem__(self, i: int) -> tuple[Tensor, Tensor, np.float32]:
            noisy, noise, sigma = super().__getitem__(i)
            return (noisy * np.nan if i // RECIPE.batch == 6 else noisy), noise, sigma

    clean = patches()
    pairs = Poisoned(clean.drawing, clean.patch)
    with pytest.raises(TrainingError, match="the loss is nan at update 7; the last good") as caught:
        fit(RECIPE, pairs, tmp_path, RUNNING)
    assert "\n" not in str(caught.value)
    state = checkpoint(tmp_path)
    assert state["global_step"] == 4
    assert all(bool(torch.isfinite(w).all()) for w in state["state_dict"].values())


def test_a_rate_that_is_too_high_stops_it(tmp_path: Path) -> None:
    recipe = replace(RECIPE, lr=1e20, warmup=0, clip=None)
    with pytest.raises(TrainingError, match=r"the loss is \w+ at update \d+; no checkpoint"):
        train(tmp_path, recipe)
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("save_every", [1, 100])
def test_weights_that_are_no_numbers_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_every: int
) -> None:
    """The loss of an update is of the weights before it: a finite one proves little."""

    update = NoisePrediction.optimizer_step

    def poisoned(module: NoisePrediction, *args: Any, **options: Any) -> None:
        update(module, *args, **options)
        if module.global_step == 1:  # counted after this: it is the second
            module.network.head.weight.data[0, 0, 0, 0] = torch.nan

    monkeypatch.setattr(NoisePrediction, "optimizer_step", poisoned)
    with pytest.raises(TrainingError, match="weights are no numbers after update 2; ") as caught:
        train(tmp_path, replace(RECIPE, steps=2), RuntimeOptions(save_every=save_every))
    if save_every == 1:
        assert "the last good checkpoint" in str(caught.value)
        state = checkpoint(tmp_path)
        assert state["global_step"] == 1
        assert all(bool(torch.isfinite(w).all()) for w in state["state_dict"].values())
    else:
        assert "no checkpoint had been saved" in str(caught.value)
        assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_flat_patches_among_others_do_no_harm(tmp_path: Path, precision: str) -> None:
    flat = np.full((20, 20, 20), 77, np.uint8)
    volumes = PatchSource("flat", [flat]), PatchSource("noise", [grey(20, 20, 20)])
    recipe: Recipe = RECIPES["bfloat16"] if precision == "bfloat16" else RECIPE
    listener = Listener()
    fit(
        recipe,
        NoisyPatches(Drawing(volumes, 77.0, 30.0), 16),
        tmp_path,
        RUNNING,
        observers=[listener],
    )
    assert np.isfinite(list(listener.losses().values())).all()


def test_the_papers_network_has_the_multiply_adds_of_its_convolutions() -> None:
    """A convolution of 3 x 3 at full resolution: 9 · width² · 128² for the inner ones."""
    full = 9 * 128**2 * 128**2
    inner = 6 * full * (2 * (1 + 1 / 4 + 1 / 16 + 1 / 64) + 1 / 256)
    assert multiply_adds(Recipe().architecture, 128) == pytest.approx(inner, rel=0.01)
