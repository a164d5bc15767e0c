"""`ddgm tune --without-truth` chooses by held-out views; `--simulate` makes tilts otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ddgm.core.simulation.acquisition import Acquisition
from ddgm.pipeline.evaluation.comparison_request import ComparisonRequest
from ddgm.pipeline.evaluation.measure import solve
from ddgm.pipeline.evaluation.methods import in_spec, parse_method
from tests.pipeline.runs import phantom_volume, run_ddgm
from tests.workers.shared import Shared


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume"))


def test_a_grid_is_ranked_by_the_views_that_were_held_out(
    url: str,
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["tune", url, "gradient-descent", "--grid", "gradient_steps=1,30", "--without-truth"]
    words += ["--simulate", "kernel=strip:shift=0.5", "--patches", 3, "--prior", tiny_prior]
    words += ["--detector", "lateral", "--scheduler", shared.part["address"], "--out", tmp_path]
    status, said, error = run_ddgm(capsys, *words)
    assert (status, error) == (0, "")
    assert "every 8th view held out" in said
    assert "simulated with kernel=strip:shift=0.5" in said
    points = json.loads((tmp_path / "tune.json").read_text())["points"]
    few, many = (sum(point["held_out"]) for point in points.values())
    assert few > 1.2 * many
    table = (tmp_path / "tune.md").read_text()
    best, worst = (in_spec(parse_method(name)) for name in reversed(points))
    assert table.index(best) < table.index(worst)


def test_what_differs_from_the_reconstruction_makes_it_worse(url: str, tiny_prior: Path) -> None:
    request = ComparisonRequest(url, patches=3, detector="lateral", prior=str(tiny_prior))
    method, x = parse_method("gradient-descent"), request.normalised
    best, _ = solve(method, request.comparison, x)
    assert best.held_out == []
    differing = replace(request.comparison, simulate=Acquisition(shift=1.0, gain=0.1))
    moved, _ = solve(method, differing, x)
    assert all(a > b for a, b in zip(moved.mse, best.mse, strict=True))


def test_an_acquisition_that_there_cannot_be_is_refused_in_one_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["benchmark", url, "--simulate", "dose=-1", "--out", tmp_path / "out"]
    status, _, error = run_ddgm(capsys, *words)
    assert status == 1
    assert "--simulate: dose: -1.0 must be above 0" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
