"""Whether the shipped prior fits: right on tissue and phantom, and on what is none of its kind."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.least_squares import gradient_descent
from ddgm.core.metrics.prior_fit import PriorFit, likeness, preference
from ddgm.core.metrics.scores import data_residual
from ddgm.core.metrics.tissue import load_tissue
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.prior import load_prior
from ddgm.core.projectors import Projector, projector
from ddgm.core.simulation.noise import numbered_origins
from ddgm.core.simulation.phantom import neuropil
from ddgm.core.simulation.tilt_series import tilt_series

FIB25 = Path(__file__).parents[3] / "fib25/heldout.npy"
SIDE, SLICES = 128, 3


@cache
def scanner() -> Projector:
    return projector(TiltGeometry.uniform(SIDE, SIDE, detector="lateral"))


@cache
def volume(name: str) -> np.ndarray:
    """Slices of the validation half, or of a phantom, in the prior's units, (z, y, x)."""
    if name == "phantom":
        grey = neuropil((SIDE, SIDE, 64), seed=9).transpose(2, 0, 1)
    elif FIB25.is_file():
        grey = np.load(FIB25, mmap_mode="r", allow_pickle=False)[:78, :SIDE, :SIDE]
    else:
        pytest.skip("no fib25 beside the checkout")
    return load_prior("small").card.intensity.normalised(np.asarray(grey))


def judged(x: np.ndarray, asked: bool = False) -> PriorFit:
    """What is said of a reconstruction of some slices of a stack; by the prior, too, if asked."""
    picked = x[np.linspace(2, len(x) - 3, SLICES).astype(int)]
    a, truth = scanner(), torch.from_numpy(np.ascontiguousarray(picked, np.float32))
    y = tilt_series(a.forward, truth, paper.TILT_NOISE, 0, numbered_origins(SLICES))
    step = paper.STEP / a.norm**2
    with torch.inference_mode():
        found = gradient_descent(a, y, step, paper.DESCENT_STEPS)
        denoise = NetworkDenoiser(load_prior("small").network)
        preferred = preference(denoise, found[:, None]) if asked else None
    like = likeness(found.numpy(), a.geometry.angles, paper.TILT_NOISE, load_tissue("small"))
    residual = data_residual(a.forward(found), y, paper.TILT_NOISE)
    return PriorFit(like, preferred, float(residual.mean()))


@pytest.mark.parametrize("name", ["tissue", "phantom"])
def test_what_the_prior_was_trained_on_fits(name: str) -> None:
    fit = judged(volume(name), asked=True)
    assert not fit.reasons
    assert fit.verdict.startswith("Nothing says that this prior does not fit these data: ")


@pytest.mark.parametrize("name", ["tissue", "phantom"])
def test_inverted_contrast_does_not_fit(name: str) -> None:
    fit = judged(-volume(name), asked=True)
    (reason,) = fit.reasons
    assert "the polarity is wrong" in reason
    assert fit.verdict == f"This prior does not fit these data: {reason}."


@pytest.mark.parametrize("name", ["tissue", "phantom"])
def test_voxels_half_as_large_do_not_fit(name: str) -> None:
    half = np.asarray(zoom(volume(name)[:, : SIDE // 2, : SIDE // 2], (1, 2, 2), order=1))
    fit = judged(half)
    assert any("the power is" in reason for reason in fit.reasons)
    assert fit.likeness is not None
    regained = judged(half / fit.likeness.power**0.5)  # as a gain that is fitted makes them
    assert any("of coarser grain" in reason for reason in regained.reasons)


def test_voxels_twice_as_large_do_not_fit() -> None:
    stack = volume("tissue")
    z, y, x = (n // 2 for n in stack.shape)
    twice = stack.reshape(z, 2, y, 2, x, 2).mean((1, 3, 5))
    twice = np.concatenate([twice, twice[:, ::-1]], axis=1)
    twice = np.concatenate([twice, twice[:, :, ::-1]], axis=2)
    assert any("of finer grain" in reason for reason in judged(twice).reasons)


def test_noise_alone_does_not_fit() -> None:
    fit = judged(np.zeros((16, SIDE, SIDE)))
    assert len(fit.reasons) == 2
    assert fit.likeness is not None
    assert fit.likeness.power < 0.1


def test_a_gain_that_is_far_off_does_not_fit() -> None:
    assert "gain" in judged(0.6 * volume("phantom")).verdict


def test_data_that_are_not_explained_do_not_fit() -> None:
    assert "held-out views are off by 2.5 times" in PriorFit(residual=1.0, held_out=2.5).verdict


def test_where_too_little_is_measured_nothing_is_said() -> None:
    tissue, x = load_tissue("small"), np.zeros((2, SIDE, SIDE))
    one_sided, few = np.radians([0.0, 20, 40, 60]), np.radians([-10.0, 0, 10])
    assert likeness(x, one_sided.tolist(), 4.1, tissue) is None
    assert likeness(x, few.tolist(), 4.1, tissue) is None
    assert likeness(x, scanner().geometry.angles, 1e4, tissue) is None
    assert PriorFit().verdict.startswith("Too little is measured")
