"""Chains, their spread and the measured share: through a run, its layers and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ddgm.core.methods.method import Problem
from ddgm.core.metrics.fourier import resolutions
from ddgm.core.metrics.uncertainty import measured_part, measured_share
from ddgm.core.simulation.noise import NoiseField
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.block.solver import SPARSE, Solver, cached_solver
from ddgm.pipeline.block.stages import fetch
from ddgm.pipeline.report.run_data import RunData, load_run_data
from ddgm.pipeline.report.trust.section import GROUPS, calibration
from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.run.preflight import LayerError, prepare
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.runs import layer, phantom_volume, spec_data

pytestmark = pytest.mark.long

LAYERS = ["reconstruction", "truth", "spread", "measured", "invented", "contradicted"]
METHOD = {"name": "ddx", "steps": 3, "samples": 3}


def data(url: str, out: Path, weights: Path, **parts: Any) -> dict[str, Any]:
    output = {"path": str(out), "layers": LAYERS, "dtype": "float32"}
    given = {"method": METHOD, "output": output, **parts}
    box = {"z": (10, 42), "y": (20, 160), "x": (7, 11)}  # one block
    return spec_data(url, out, weights, source={"box": box}) | given


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module")
def run(url: str, tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> RunData:
    out = tmp_path_factory.mktemp("trust") / "run"
    run_alone(Spec.model_validate(data(url, out, tiny_prior)), 0)
    return load_run_data(RunStore(str(out)))


def solver_of(run: RunData) -> Solver:
    return cached_solver(run.plan)


def slices(run: RunData, name: str) -> torch.Tensor:
    """A layer as a stack of slices."""
    whole = layer(Path(run.store.root), name)
    return torch.from_numpy(np.ascontiguousarray(whole.transpose(run.plan.axes)))


def test_layers_hold_mean_and_spread_of_chains_with_noise_of_their_own(run: RunData) -> None:
    plan, solver = run.plan, solver_of(run)
    block = plan.block(0)
    grey = grey_scale(plan)
    y = solver.simulate(torch.from_numpy(grey.normalised(fetch(plan, block).data)), block.origins)
    method, field = plan.spec.method, NoiseField(plan.spec.method.noise_seed, "sampler")
    shape = plan.geometry.thickness, plan.geometry.width

    def chain(c: int) -> Tensor:
        def noise(n: int) -> Tensor:
            return field.batch(shape, block.origins, c * method.evaluations + n)

        problem = Problem(solver.projector, y, solver.denoise, noise, plan.spec.tilts.noise)
        return method.solve(problem)

    with torch.inference_mode():
        chains = torch.stack([chain(c) for c in range(3)])
    assert (chains[0] - chains[1]).std() > 0.01
    mean, spread = chains.mean(0) * grey.std + grey.mean, chains.std(0) * grey.std
    assert torch.allclose(slices(run, "reconstruction"), mean, atol=1e-2)
    assert torch.allclose(slices(run, "spread"), spread, atol=1e-2)


def test_the_measured_layer_is_the_reconstructions(run: RunData) -> None:
    plan, solver = run.plan, solver_of(run)
    grey = grey_scale(plan)
    x = torch.from_numpy(grey.normalised(slices(run, "reconstruction").numpy()))
    expected = measured_share(solver.projector, x, 4.1)  # type: ignore[arg-type]
    found = slices(run, "measured")
    assert torch.allclose(found, expected, atol=1e-2)
    assert 0 <= float(found.min()) < float(found.max()) <= 1


def test_the_error_falls_into_what_is_invented_and_what_contradicts_the_data(run: RunData) -> None:
    plan, solver = run.plan, solver_of(run)
    std = grey_scale(plan).std
    invented, contradicted = (slices(run, name) for name in ("invented", "contradicted"))
    error = slices(run, "reconstruction") - slices(run, "truth")
    assert torch.allclose(invented + contradicted, error, atol=1e-2)
    expected = measured_part(solver.projector, error / std, 4.1)  # type: ignore[arg-type]
    assert torch.allclose(contradicted / std, expected, atol=1e-3)
    for name, part in (("invented", invented), ("contradicted", contradicted)):
        energy = (part / std).square().mean(dim=(1, 2)).numpy()
        assert energy.min() > 0
        np.testing.assert_allclose(run.columns[name], energy, rtol=1e-2)


def test_resolutions_are_columns_in_nm(run: RunData) -> None:
    grey, width = grey_scale(run.plan), run.plan.sides_nm[1]
    x, truth = (
        torch.from_numpy(grey.normalised(slices(run, name).numpy()))
        for name in ("reconstruction", "truth")
    )
    expected = resolutions(x[::SPARSE], truth[::SPARSE], width)
    for name, value in expected.items():
        assert run.columns[name] == pytest.approx(float(value), rel=1e-2)


def test_spread_is_held_against_true_error(run: RunData) -> None:
    found = calibration(run)
    assert found is not None
    off, spread = slices(run, "reconstruction") - slices(run, "truth"), slices(run, "spread")
    assert found.slices == len(off) == 4
    assert len(found.found) == GROUPS
    assert np.all(np.diff(found.predicted) > 0)
    ratio = float(off.square().mean().sqrt() / spread.square().mean().sqrt())
    assert found.ratio == pytest.approx(ratio, rel=1e-3)
    lowest = spread.flatten().argsort()[: spread.numel() // GROUPS]
    error = float(off.flatten()[lowest].square().mean().sqrt())
    assert found.found[0] == pytest.approx(error, rel=1e-2)


def test_the_report_shows_what_can_be_trusted(run: RunData) -> None:
    write_report(run.store.root)
    page = (Path(run.store.root) / "report.html").read_text()
    before, _, part = page.partition('<h2 id="trust">')
    part = part.partition("<h2")[0]
    assert before
    assert "mean of 3 chains" in part
    assert part.count('<div class="picture"') == 5  # error, spread, measured share, its parts
    assert part.count('<figure class="plot">') == 1
    found = calibration(run)
    assert found is not None
    assert f"{found.ratio:.2f} times the spread" in part


def test_a_report_without_these_layers_says_nothing_of_them(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    output = {"path": str(tmp_path), "layers": ["reconstruction", "truth"]}
    run_alone(Spec.model_validate(data(url, tmp_path, tiny_prior, output=output)), 0)
    write_report(str(tmp_path))
    assert "What can be trusted" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"method": {**METHOD, "samples": 0}}, r"greater than or equal to 1"),
        ({"method": {**METHOD, "samples": 1}}, r"spread is that of several chains.*is 1"),
        ({"method": {"name": "gradient_descent", "gradient_steps": 3}}, "several chains"),
    ],
)
def test_chains_that_cannot_be_are_refused(
    url: str, tmp_path: Path, tiny_prior: Path, parts: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        Spec.model_validate(data(url, tmp_path, tiny_prior, **parts))


def test_a_measured_layer_needs_singular_vectors(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    tilts = {"count": 24, "detector": "perpendicular"}
    spec = Spec.model_validate(data(url, tmp_path / "out", tiny_prior, tilts=tilts))
    with pytest.raises(LayerError, match=r"output.layers: measured .* tilts.detector: lateral"):
        prepare(spec)
    assert not (tmp_path / "out").exists()
