"""The objective, the learning rate and the average, as their docstrings say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import Adam
from torch.utils.data import default_collate

from ddgm.core.networks.unet import UNet
from ddgm.core.training.events import Event, Saved
from ddgm.core.training.fit import fit
from ddgm.core.training.module import NoisePrediction, learning_rate, optimizer
from ddgm.core.training.muon import Muon
from ddgm.core.training.recipe import Recipe, RuntimeOptions
from tests.ddgm_core.training.trainings import RECIPE, TINY, patches, train


def batch_of(count: int) -> list[Tensor]:
    return default_collate([patches()[i] for i in range(count)])


def test_the_default_rate_is_constant() -> None:
    assert {learning_rate(Recipe(), step) for step in (0, 1, 1000, 380_000)} == {1.0}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_rate_rises_then_does_what_the_schedule_says(schedule: str) -> None:
    recipe = Recipe(
        steps=1000, warmup=100, schedule="cosine" if schedule == "cosine" else "constant"
    )
    rates = [learning_rate(recipe, step) for step in range(1001)]
    assert rates[0] == 0.01
    assert rates[99] == rates[100] == 1
    assert (np.diff(rates[:100]) > 0).all()
    if schedule == "constant":
        assert set(rates[99:]) == {1.0}
    else:
        assert rates[550] == pytest.approx(0.5)
        assert rates[1000] == pytest.approx(0)
        assert (np.diff(rates[100:]) < 0).all()


def test_weighting_0_is_the_papers_loss() -> None:
    """Eq. 1: the mean of ‖ε - ε̂‖² over pixels and patches."""
    module = NoisePrediction(RECIPE)
    noisy, noise, sigma = batch_of(6)
    loss = module.training_step((noisy, noise, sigma), 0)
    with torch.no_grad():
        expected = torch.nn.functional.mse_loss(module.network(noisy), noise)
    torch.testing.assert_close(loss.detach(), expected)


@pytest.mark.parametrize("weighting", [0.5, 1.0])
def test_weighting_scales_each_sample_by_its_noise_level(weighting: float) -> None:
    module = NoisePrediction(replace(RECIPE, weighting=weighting))
    noisy, noise, sigma = batch_of(6)
    paper = NoisePrediction(RECIPE)
    paper.load_state_dict(module.state_dict())
    with torch.no_grad():
        whole = module.training_step((noisy, noise, sigma), 0)
        alone = [
            float(paper.training_step((noisy[i : i + 1], noise[i : i + 1], sigma[i : i + 1]), 0))
            * (1 + 10 * float(sigma[i])) ** weighting
            for i in range(6)
        ]
    assert float(whole) == pytest.approx(np.mean(alone), rel=1e-4)


def test_the_optimizers_share_out_all_parameters() -> None:
    network = UNet(TINY)
    adam = optimizer(RECIPE, network)
    assert isinstance(adam, Adam)
    assert adam.defaults["betas"] == (0.9, 0.999)
    muon = optimizer(replace(RECIPE, optimizer="muon"), network)
    assert isinstance(muon, Muon)
    others, matrices = (group["params"] for group in muon.param_groups)
    assert {id(p) for p in others}.isdisjoint({id(p) for p in matrices})
    assert {id(p) for p in (*others, *matrices)} == {id(p) for p in network.parameters()}
    first_and_last = {id(network.stem.weight), id(network.head.weight)}
    convolutions = {id(p) for p in network.parameters() if p.ndim == 4}
    assert {id(p) for p in matrices} == convolutions - first_and_last


class Weights:
    """Observes checkpoints; keeps weights and average as they were at each."""

    def __init__(self) -> None:
        self.network: list[Tensor] = []
        self.averaged: list[Tensor] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Saved):
            state = torch.load(event.path, weights_only=True)["state_dict"]
            self.network.append(state["network.head.weight"])
            self.averaged.append(state["averaged.head.weight"])


@pytest.mark.train
@pytest.mark.parametrize("average", [0.0, 0.4, 0.999])
def test_the_average_has_the_memory_it_says(tmp_path: Path, average: float) -> None:
    """Over (10 + n) / 9 steps after the n-th, up to 1 / (1 - average)."""
    kept = Weights()
    recipe = replace(RECIPE, average=average)
    fit(recipe, patches(), tmp_path, RuntimeOptions(save_every=1), observers=[kept])
    expected = kept.averaged[0]
    for n, (weight, averaged) in enumerate(
        zip(kept.network[1:], kept.averaged[1:], strict=True), 2
    ):
        expected = expected + (weight - expected) * max(9 / (10 + n), 1 - average)
        torch.testing.assert_close(averaged, expected, rtol=1e-5, atol=1e-7)
    assert len(kept.network) == recipe.steps
    if average:
        assert not torch.equal(kept.averaged[-1], kept.network[-1])


@pytest.mark.train
def test_what_comes_out_is_the_average(tmp_path: Path) -> None:
    weights = train(tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in weights.items():
        assert torch.equal(weight, state[f"averaged.{name}"])
    assert any(not torch.equal(w, state[f"network.{name}"]) for name, w in weights.items())
