"""Trainings of networks that restore tilt series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddgm.core.methods.method import Problem
from ddgm.core.methods.restoration import Restore
from ddgm.core.networks.conditions import Conditions, ConditionsRange
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.prior import Prior, PriorCard
from ddgm.core.networks.tiling import RowDenoiser
from ddgm.core.training.data import Drawing, PatchSource, TiltedSlices
from ddgm.core.training.events import Validated
from ddgm.core.training.fit import fit
from ddgm.core.training.recipe import Recipe
from ddgm.core.training.restoring import ERROR_SCALE, Restoration, exact_projector
from tests.ddgm_core.sample_networks import random_network
from tests.ddgm_core.training.trainings import RECIPE, RUNNING, TINY, Killed, Listener, grey

CONDITIONS = Conditions("lateral", thickness=16, width=24, views=7, tilt_noise=0.5)
RESTORING = replace(RECIPE, restores=CONDITIONS, steps=12)
DRAWING = Drawing((PatchSource("a", [np.kron(grey(5, 6, 7), np.ones((6, 6, 6)))]),), 127.5, 74.0)


def trained(
    folder: Path, recipe: Recipe = RESTORING, observers: tuple[Listener, ...] = ()
) -> dict[str, torch.Tensor]:
    pairs = TiltedSlices(DRAWING, recipe)
    clean = torch.from_numpy(DRAWING.normalised(grey(6 * recipe.stack, 16, 16, seed=3)))
    validation = clean.unflatten(0, (-1, recipe.stack))
    options = replace(RUNNING, validate_every=recipe.steps)
    return fit(recipe, pairs, folder, options, validation, observers).state_dict()


@pytest.mark.train
def test_the_error_falls_and_is_validated(tmp_path: Path) -> None:
    listener = Listener()
    trained(tmp_path, replace(RESTORING, steps=60, lr=1e-2), (listener,))
    losses = listener.losses()
    assert losses[60] < 0.95 * losses[10]
    (event,) = (e for e in listener.events if isinstance(e, Validated))
    assert not event.errors
    assert event.pictures["restored"].shape == (3, 6, 16, 16)
    truth, _, restored = event.pictures["restored"]
    assert event.mse == pytest.approx(np.mean((restored - truth) ** 2), rel=1e-4)


@pytest.mark.train
def test_a_network_is_trained_through_all_its_passes(tmp_path: Path) -> None:
    listener, recipe = Listener(), replace(RESTORING, steps=60, lr=1e-2, passes=2)
    trained(tmp_path, recipe, (listener,))
    losses = listener.losses()
    assert losses[60] < 0.95 * losses[10]
    assert any(isinstance(e, Validated) for e in listener.events)


def test_the_loss_is_that_of_the_method() -> None:
    """Of whole slices, after as many passes with a data step before each."""
    module = Restoration(replace(RESTORING, passes=2))
    module.network.load_state_dict(random_network(TINY).state_dict())
    x, noise = torch.randn(3, 1, 16, 24), torch.randn(3, 1, 7, CONDITIONS.geometry.bins)
    loss = module.training_step((x, noise), 0)
    a = exact_projector(CONDITIONS.geometry, "cpu")
    y = a.forward(x[:, 0]) + CONDITIONS.tilt_noise * noise[:, 0]
    network = NetworkDenoiser(random_network(TINY))
    problem = Problem(a, y, network, torch.zeros, CONDITIONS.tilt_noise, restore=network)
    expected = torch.mean((Restore(passes=2).solve(problem) - x[:, 0]) ** 2)
    assert loss.item() == pytest.approx(float(expected), rel=1e-4)
    loss.backward()
    stem = module.network.stem.weight.grad
    assert stem is not None
    assert float(stem.abs().max()) > 0


def test_neighbours_are_learnt_from_as_the_method_gives_them() -> None:
    """All slices of a stack count, each with those beside it, in every pass."""
    three = replace(TINY, channels=3)
    recipe = replace(RESTORING, architecture=three, passes=2)
    assert recipe.stack == 5
    module = Restoration(recipe)
    module.network.load_state_dict(random_network(three).state_dict())
    x, noise = torch.randn(2, 5, 16, 24), torch.randn(2, 5, 7, CONDITIONS.geometry.bins)
    a, sigma = exact_projector(CONDITIONS.geometry, "cpu"), CONDITIONS.tilt_noise
    network = RowDenoiser(NetworkDenoiser(random_network(three)), three.multiple, channels=3)
    errors = []
    for slices, unit in zip(x, noise, strict=True):
        y = a.forward(slices) + sigma * unit
        problem = Problem(a, y, network, torch.zeros, sigma, restore=network)
        errors.append(Restore(passes=2, channels=3).solve(problem) - slices)
    expected = float(torch.mean(torch.stack(errors) ** 2))
    assert module.training_step((x, noise), 0).item() == pytest.approx(expected, rel=1e-4)


WIDER = replace(CONDITIONS, range=ConditionsRange((5, 9), (40.0, 70.0), (0.2, 2.0)))


def test_each_update_has_tilts_of_its_own() -> None:
    """The noise that is drawn and the operator that it is added behind are of the same tilts."""
    recipe = replace(RESTORING, restores=WIDER, passes=2, batch=2)
    pairs, module = TiltedSlices(DRAWING, recipe), Restoration(recipe)
    batch = [torch.stack(t) for t in zip(pairs[0], pairs[1], strict=True)]
    assert module.training_step((batch[0], batch[1]), 0).isfinite()
    views = [pairs[2 * update][1].shape[1] for update in range(12)]
    assert views == [recipe.conditions(update).views for update in range(12)]
    assert len(set(views)) > 2
    assert [pairs[2 * u + 1][1].shape[1] for u in range(12)] == views


@pytest.mark.train
def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(Killed):
        trained(tmp_path / "parts", observers=(Listener(until=10),))
    resumed = trained(tmp_path / "parts")
    assert all(torch.equal(resumed[name], w) for name, w in whole.items())


def test_a_start_that_denoises_is_scaled_to_the_error(tmp_path: Path) -> None:
    card = PriorCard(TINY, mean=0.0, std=1.0, voxel_size_nm=16.0, patch=16)
    start = Prior(random_network(TINY), card, "0" * 64)
    module, x = Restoration(RESTORING, start), torch.randn(2, 1, 16, 16)
    for network in (module.network, module.averaged):
        assert torch.allclose(network(x), ERROR_SCALE * start.network(x), atol=1e-6)
    again = replace(start, card=replace(card, restores=CONDITIONS))
    kept = Restoration(RESTORING, again).network
    assert torch.allclose(kept(x), start.network(x), atol=1e-6)
