"""How good a network is said to be, and that asking changes nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddgm.core.training.events import Validated
from ddgm.core.training.recipe import RuntimeOptions
from ddgm.core.training.validation import IMAGES, SIGMAS, denoised, noise_errors, validate
from tests.ddgm_core.sample_networks import random_network
from tests.ddgm_core.training.trainings import RECIPE, TINY, Listener, train

SIDE = 16


def images(count: int) -> Tensor:
    return torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_predicting_nothing_errs_by_one_at_each_level() -> None:
    errors = noise_errors(torch.zeros_like, images(32))  # type: ignore[arg-type]
    assert tuple(errors) == SIGMAS
    assert list(errors.values()) == pytest.approx([1.0] * len(SIGMAS), abs=0.1)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_exact_guess_errs_by_nothing(sigma: float) -> None:
    """On black images the noisy image is the noise times σ."""
    black = torch.zeros(20, 1, SIDE, SIDE)
    errors = noise_errors(lambda x: x / sigma, black)
    assert errors[sigma] < 1e-10
    assert all(e > 1e-2 for s, e in errors.items() if s != sigma)


def test_errors_are_the_same_each_time_and_for_any_number_of_patches_at_once() -> None:
    def shrink(x: Tensor) -> Tensor:
        return 0.5 * x

    errors = noise_errors(shrink, images(40))
    assert noise_errors(shrink, images(40)) == errors
    clean = images(40)
    assert all(
        e == pytest.approx((0.5 * s - 1) ** 2 + 0.25 * float(clean.square().mean()), rel=0.1)
        for s, e in errors.items()
    )


def test_the_picture_shows_noise_being_taken_away() -> None:
    black = torch.zeros(5, 1, SIDE, SIDE)
    rows = denoised(lambda x: x / 3.0, black)
    assert rows.shape == (7, 5, SIDE, SIDE)
    spread = [float(row.std()) for row in rows]
    assert spread[0] == 0
    assert spread[1::2] == pytest.approx([0.3, 1.0, 3.0], rel=0.1)
    assert spread[6] < 1e-6  # of σ = 3, for which the guess is exact


@pytest.mark.parametrize("count", [2, IMAGES, 9])
def test_a_validation_has_errors_scores_and_pictures(count: int) -> None:
    event = validate(random_network(TINY), "float32", images(count), step=7, slices=1)
    assert event.step == 7
    assert tuple(event.errors) == SIGMAS
    assert event.mse > 0
    assert event.ratio > 0
    columns = min(count, IMAGES)
    assert event.pictures["denoised"].shape == (7, columns, SIDE, SIDE)
    assert event.pictures["samples"].shape == (2, columns, SIDE, SIDE)
    assert all(p.dtype == "float32" for p in event.pictures.values())


def test_without_slices_there_are_no_scores() -> None:
    event = validate(random_network(TINY), "bfloat16", images(6), step=1, slices=0)
    assert math.isnan(event.mse)
    assert math.isnan(event.ratio)
    assert len(event.errors) == len(SIGMAS)


@pytest.mark.train
@pytest.mark.parametrize("training", [True, False])
def test_a_validation_leaves_the_network_as_it_was(training: bool) -> None:
    network = random_network(TINY).train(training).requires_grad_()
    before = copy.deepcopy(network.state_dict())
    validate(network, "float32", images(6), step=1, slices=0)
    assert network.training == training
    assert all(torch.equal(w, before[name]) for name, w in network.state_dict().items())
    network(images(2)).square().mean().backward()  # fails on inference tensors
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.train
def test_a_training_that_is_validated_comes_to_the_same_weights(tmp_path: Path) -> None:
    listener = Listener()
    options = RuntimeOptions(save_every=4, validate_every=3, slices=0)
    recipe = replace(RECIPE, steps=7)
    watched = train(tmp_path / "a", recipe, options, [listener], validation=images(6))
    plain = train(tmp_path / "b", recipe)
    assert all(torch.equal(w, plain[name]) for name, w in watched.items())
    assert [e.step for e in listener.events if isinstance(e, Validated)] == [3, 6, 7]
