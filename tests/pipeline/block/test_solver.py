"""The solver does what the spec's method says, to any number of slices, batch by batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ddgm.core.methods import least_squares, samplers, split_gibbs
from ddgm.core.methods.schedules import log_linear
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import PriorError
from ddgm.core.networks.tiling import RowDenoiser
from ddgm.core.projectors.protocol import BasisError
from ddgm.core.simulation.noise import NoiseField, SliceOrigin
from ddgm.pipeline.block.solver import Solver, cached_prior, cached_solver
from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, make_plan
from tests.pipeline.runs import phantom_volume, spec_data

METHODS: dict[str, dict[str, Any]] = {
    "ddgm": {"name": "ddgm", "steps": 3, "gradient_steps": 5, "seed": 4},
    "ddx": {"name": "ddx", "steps": 3, "seed": 4, "sigma": [3.0, 0.03], "rho": 2.0, "kappa": 1.5},
    "split_gibbs": {
        "name": "split_gibbs",
        "steps": 3,
        "seed": 4,
        "sigma": [2.0, 0.5],
        "inner": 2,
        "depth": 0.25,
    },
    "gradient_descent": {"name": "gradient_descent", "gradient_steps": 7},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume"))


def planned(url: str, out: Path, weights: Path, method: str) -> tuple[Plan, Solver]:
    spec = Spec.model_validate(spec_data(url, out, weights) | {"method": METHODS[method]})
    plan = make_plan(spec)
    return plan, cached_solver(plan)


def by_hand(method: str, solver: Solver, y: Tensor, origins: list[SliceOrigin]) -> Tensor:
    a, field = solver.projector, NoiseField(4, "sampler")
    shape, sigmas = (a.geometry.thickness, a.geometry.width), log_linear(3.0, 0.03, 3)

    def noise(n: int) -> Tensor:
        return field.batch(shape, origins, n)

    step = 1.42 / a.norm**2
    if method == "ddgm":
        return samplers.ddgm(a, y, solver.denoise, noise, sigmas, step, 5)
    if method == "ddx":
        return samplers.ddx(a, y, solver.denoise, noise, sigmas, 4.1, 2.0, 1.5)
    if method == "split_gibbs":
        rounds = split_gibbs.levels_of_rounds(log_linear(2.0, 0.5, 3), 0.25, 2)
        return split_gibbs.split_gibbs(a, y, solver.denoise, noise, rounds, 4.1)
    return least_squares.gradient_descent(a, y, step, 7)


def test_whole_rows_go_through_the_network_once_and_have_no_seams(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    data = spec_data(url, tmp_path / "run", tiny_prior) | {"method": METHODS["ddgm"]}
    data["prior"] = data["prior"] | {"tiling": "rows"}
    spec = Spec.model_validate(data)
    plan = make_plan(spec)
    prior = cached_prior(spec.prior)
    solver = cached_solver(plan)
    g, origins = plan.geometry, [(0, 0, 0), (0, 0, 1)]
    y = torch.randn(2, g.views, g.bins, generator=torch.Generator().manual_seed(0))
    network = NetworkDenoiser(prior.network, spec.prior.precision)
    rows = RowDenoiser(FixedBatches(network, 1), prior.card.architecture.multiple)
    with torch.inference_mode():
        expected = by_hand("ddgm", replace(solver, denoise=rows), y, origins)
    x = solver.reconstruct(y, origins)
    assert float((x - expected).norm() / expected.norm()) < 1e-4  # another batch, other rounding
    assert "seam" not in solver.score(x, x, y)


@pytest.mark.parametrize("method", METHODS)
def test_it_runs_the_method_that_the_spec_names(
    url: str, tmp_path: Path, tiny_prior: Path, method: str
) -> None:
    _, solver = planned(url, tmp_path, tiny_prior, method)
    g = solver.projector.geometry
    x = torch.randn(6, g.thickness, g.width)  # a batch of four, and half of another
    origins: list[SliceOrigin] = [(0, 0, i) for i in range(6)]
    y = solver.simulate(x, origins)
    steps: list[int] = []
    found = solver.sample(y, origins, steps.append)[0]
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, solver.steps(len(y)) + 1))
    with torch.inference_mode():
        first = by_hand(method, solver, y[:4], origins[:4])
        ends = [*origins[4:], origins[5], origins[5]]
        rest = by_hand(method, solver, torch.cat([y[4:], torch.zeros_like(y[:2])]), ends)
    assert torch.equal(found, torch.cat([first, rest[:2]]))
    noise = solver.spec.tilts.noise
    square = (solver.projector.forward(found) - y).square().mean(dim=(1, 2)) / noise**2
    assert solver.score(found, x, y)["residual"].tolist() == pytest.approx(square.tolist())


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_times_any_method(url: str, tmp_path: Path, tiny_prior: Path, method: str) -> None:
    plan, _ = planned(url, tmp_path, tiny_prior, method)
    time = time_calls(plan)
    assert time.data_step > 0
    assert (time.network_call > 0) == (method != "gradient_descent")


def test_ddx_needs_the_noise_of_the_tilts(url: str, tmp_path: Path, tiny_prior: Path) -> None:
    data = spec_data(url, tmp_path, tiny_prior, tilts={"noise": 0}) | {"method": {"name": "ddx"}}
    with pytest.raises(ValidationError, match=r"tilts\.noise: 0 leaves ddx nothing"):
        Spec.model_validate(data)


def test_split_gibbs_needs_singular_vectors(url: str, tmp_path: Path, tiny_prior: Path) -> None:
    tilts = {"count": 24, "detector": "perpendicular"}
    data = spec_data(url, tmp_path / "out", tiny_prior, tilts=tilts)
    spec = Spec.model_validate(data | {"method": METHODS["split_gibbs"]})
    with pytest.raises(BasisError, match=r"split_gibbs .* perpendicular .* use a lateral detector"):
        prepare(spec)
    assert not (tmp_path / "out").exists()


def test_ddx_stays_within_the_priors_noise_levels(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    method = {"name": "ddx", "sigma": [40.0, 0.03]}
    spec = Spec.model_validate(spec_data(url, tmp_path, tiny_prior) | {"method": method})
    with pytest.raises(PriorError, match=r"method\.sigma: \[40\.0, 0\.03\] is not within"):
        prepare(spec)
