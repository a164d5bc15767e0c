"""Slices in a notebook: any kind of array, the numbers of a run, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ddgm
from ddgm.pipeline.run.runner import run_alone
from tests.pipeline.runs import layer, phantom_volume, spec_data

EXAMPLES = Path(__file__).parents[3] / "examples"
GEOMETRY = ddgm.TiltGeometry.uniform(16, 48, views=12, detector="lateral")
DESCENT = {"name": "gradient_descent", "gradient_steps": 10}
SHAPE = (3, 16, 48)
STACK = np.random.default_rng(0).normal(size=SHAPE)


def reconstructed(y: Any, tiny_prior: Path) -> Any:
    return ddgm.reconstruct(y, GEOMETRY, str(tiny_prior), DESCENT, stride=24)


def test_what_goes_in_comes_out(tiny_prior: Path) -> None:
    a = ddgm.projector(GEOMETRY)
    y = ddgm.simulate(STACK, GEOMETRY, noise=0.0)
    x = reconstructed(y, tiny_prior)
    pairs = (y, a.forward(STACK).shape), (x, SHAPE), (a.adjoint(y), SHAPE)
    for found, shape in pairs:
        assert isinstance(found, np.ndarray)
        assert found.shape == shape
        assert found.dtype == np.float32
    tensors = ddgm.simulate(torch.from_numpy(STACK), GEOMETRY, noise=0.0)
    assert isinstance(tensors, torch.Tensor)
    assert np.array_equal(tensors.numpy(), y)
    assert np.array_equal(reconstructed(tensors, tiny_prior).numpy(), x)
    assert np.array_equal(reconstructed(y[0], tiny_prior), x[0])
    assert ddgm.metrics.mse(x, STACK).shape == (3,)
    assert float(ddgm.metrics.mse(x[1], STACK[1])) == float(ddgm.metrics.mse(x, STACK)[1])


def test_a_prior_is_refused_for_pixels_that_are_no_squares(tiny_prior: Path) -> None:
    flat = ddgm.TiltGeometry.uniform(16, 48, views=12, detector="lateral", aspect=2.5)
    y = ddgm.simulate(STACK, flat)
    method = {"name": "ddgm", "steps": 2, "gradient_steps": 2}
    with pytest.raises(
        ddgm.DdgmError, match=r"^prior: .* cubes of 16 nm, .* 2\.5 .*any_voxel_size"
    ):
        ddgm.reconstruct(y, flat, str(tiny_prior), method, stride=24)
    x = ddgm.reconstruct(y, flat, str(tiny_prior), method, stride=24, any_voxel_size=True)
    assert x.shape == SHAPE
    plain = ddgm.reconstruct(y, flat, str(tiny_prior), DESCENT, stride=24)  # without a network
    assert plain.shape == SHAPE


def test_the_network_sees_no_slice_that_is_not_there(tiny_prior: Path) -> None:
    """Though a run pads its batches, and products keep that shape."""
    prior = ddgm.load_prior(str(tiny_prior))
    seen: list[int] = []
    prior.network.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    geometry = ddgm.TiltGeometry.uniform(32, 32, views=9, detector="lateral")  # one patch
    method = {"name": "ddx", "steps": 3}
    ddgm.reconstruct(np.zeros((2, 9, geometry.bins)), geometry, prior, method, stride=24, batch=1)
    assert seen == [1] * 2 * 3


def test_noise_differs_from_slice_to_slice_and_by_seed() -> None:
    same = np.zeros((2, 16, 48))
    y = ddgm.simulate(same, GEOMETRY)
    assert not np.array_equal(y[0], y[1])
    assert y.std() == pytest.approx(4.1, rel=0.1)
    assert not np.array_equal(y, ddgm.simulate(same, GEOMETRY, seed=1))


@pytest.mark.parametrize("method", [{"name": "ddgm", "steps": 3, "gradient_steps": 5}, "ddx"])
def test_the_numbers_are_those_of_a_run(
    method: str | dict[str, Any], tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em", shape=(32, 140, 8), offset=(0, 0, 0))
    named = {"name": method, "steps": 3} if isinstance(method, str) else method
    data = spec_data(url, tmp_path / "run", tiny_prior, block={"slices": 8, "batch": 8})
    data["output"]["dtype"] = "float32"
    run_alone(ddgm.load_spec({**data, "method": named}), 0)
    run = ddgm.open_run(tmp_path / "run")
    prior = ddgm.load_prior(str(tiny_prior))
    y = np.asarray(run.sinogram[0])
    x = ddgm.reconstruct(y, run.plan.geometry, prior, named, stride=24, batch=8)
    grey = x * np.float32(prior.card.std) + np.float32(prior.card.mean)
    t, h, w = run.plan.axes
    # but for a product's rounding, which depends on how many slices are solved at once
    found = layer(tmp_path / "run", "reconstruction").transpose(t, h, w)
    assert np.allclose(grey, found, atol=0.05)
    assert np.allclose(ddgm.simulate(truth(run, prior), run.plan.geometry), y, atol=1e-3)


def truth(run: Any, prior: Any) -> np.ndarray:
    """The normalised slices that a run has imaged."""
    slices = np.asarray(run.truth[:]).transpose(run.plan.axes)
    return (slices - prior.card.mean) / prior.card.std


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: ddgm.simulate(STACK[:, :, :40], GEOMETRY),
            r"x: its shape is \(3, 16, 40\), and must be \(16, 48\), which is "
            r"\(thickness, width\), or \(n, 16, 48\) for a stack",
        ),
        (lambda: ddgm.projector(GEOMETRY).adjoint(STACK), r"y: its shape is \(3, 16, 48\)"),
        (lambda: ddgm.simulate(STACK[:0], GEOMETRY), "holds nothing"),
        (lambda: ddgm.simulate(STACK * np.nan, GEOMETRY), "NaN or infinity"),
        (lambda: ddgm.simulate(STACK.astype(complex), GEOMETRY), "complex128; give real ones"),
        (lambda: ddgm.simulate(STACK.astype(str), GEOMETRY), "give real ones"),
        (lambda: ddgm.simulate(STACK, GEOMETRY, noise=-1), "tilts.noise: .*greater than or equal"),
        (lambda: ddgm.metrics.mse(STACK, STACK[:2]), "truth: 2 for the 3 of x"),
        (lambda: ddgm.metrics.mse(STACK, STACK[0, :8]), r"truth: its shape is \(8, 48\)"),
        (lambda: ddgm.metrics.ssim(STACK[:, :9], STACK[:, :9]), "ssim needs 11 pixels"),
        (lambda: reconstructed_by("none"), "method"),
        (lambda: reconstructed_by("ddgm", precison="bfloat16"), "did you mean 'precision'"),
        (lambda: reconstructed_by("ddx", noise=0.0), "tilts.noise: 0 leaves ddx"),
        (lambda: ddgm.load_prior("tiny"), "neither a shipped prior"),
        (lambda: ddgm.neuropil((4, 4, 4)), "each at least 8 voxels"),
    ],
)
def test_a_mistake_is_one_line(call: Any, said: str) -> None:
    with pytest.raises(ddgm.DdgmError, match=said) as error:
        call()
    assert "\n" not in str(error.value)


def reconstructed_by(method: str, **options: Any) -> np.ndarray:
    y = np.zeros((GEOMETRY.views, GEOMETRY.bins))
    return ddgm.reconstruct(y, GEOMETRY, "small", method, **options)
