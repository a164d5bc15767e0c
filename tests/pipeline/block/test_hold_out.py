"""Views that are held out: the reconstruction does not see them, and is scored by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ddgm.core.geometry import Detector
from ddgm.core.metrics.scores import data_residual
from ddgm.core.projectors import FourierProjector
from ddgm.core.simulation.noise import SliceOrigin
from ddgm.pipeline.block.solver import Solver, cached_solver
from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec.plan import make_plan
from tests.pipeline.runs import phantom_volume, small_spec

ORIGINS: list[SliceOrigin] = [(0, 0, i) for i in range(4)]
OUT = [2, 6, 10, 13, 17, 21]  # of 24, every fourth from either end


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume"))


def solver(url: str, out: Path, weights: Path, **tilts: Any) -> Solver:
    return cached_solver(make_plan(small_spec(url, out, weights, tilts=tilts)))


@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_held_out_views_decide_the_score_and_nothing_of_the_reconstruction(
    url: str, tmp_path: Path, tiny_prior: Path, detector: Detector
) -> None:
    a = solver(url, tmp_path, tiny_prior, detector=detector, hold_out=4)
    g = a.projector.geometry
    assert (g.views, a.all_views.geometry.views) == (18, 24)
    truth = torch.randn(4, g.thickness, g.width)
    y = a.simulate(truth, ORIGINS)
    other = y.clone()
    other[:, OUT] += 1000
    x = a.reconstruct(y, ORIGINS)
    assert torch.equal(x, a.reconstruct(other, ORIGINS))
    assert torch.equal(a.algebraic(y), a.algebraic(other))
    scores, others = a.score(x, truth, y), a.score(x, truth, other)
    assert torch.equal(scores["residual"], others["residual"])
    predicted = a.all_views.forward(x)[:, OUT]
    assert torch.allclose(scores["held_out"], data_residual(predicted, y[:, OUT], 4.1))
    assert (others["held_out"] > 1000).all()
    assert a.score(truth, truth, y)["held_out"].mean() == pytest.approx(1, abs=0.05)
    near = torch.cat([y[:, :2], y[:, 3:6]], dim=1)  # what projects is what undoes
    kept = a.projector.forward(truth)[:, :5]
    assert (near - kept).std() == pytest.approx(4.1, rel=0.05)


def test_tilts_stay_in_pairs_so_that_the_eigenbasis_stays_real(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    a = solver(url, tmp_path, tiny_prior, hold_out=4).projector
    assert isinstance(a, FourierProjector)
    c = a.coefficients(torch.randn(2, a.geometry.thickness, a.geometry.width))
    assert a._v.dtype == torch.float32
    x = a.slices(c)
    y = a.forward(x)
    assert torch.allclose(a.slices(a.data_coefficients(y)), a.adjoint(y), atol=1e-3 * a.norm**2)


def test_data_are_the_same_with_and_without_views_held_out(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    held, plain = (solver(url, tmp_path, tiny_prior, **t) for t in ({"hold_out": 4}, {}))
    x = torch.randn(4, 32, held.projector.geometry.width)
    assert torch.equal(held.simulate(x, ORIGINS), plain.simulate(x, ORIGINS))
    assert "held_out" not in plain.score(x, x, plain.simulate(x, ORIGINS))


def test_a_block_records_how_well_its_slices_predict_held_out_views(
    url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    """And an acquisition that differs shows in them."""
    means = []
    for name, simulate in (("plain", None), ("moved", {"shift": 2.0})):
        tilts = {"hold_out": 8, "simulate": simulate}
        spec = small_spec(url, tmp_path / name, tiny_prior, tilts=tilts)
        record = run_block(prepare(spec), 0)
        assert record.state == "done"
        assert {"held_out", "algebraic_held_out"} <= set(record.metrics[0])
        means.append(sum(row["algebraic_held_out"] for row in record.metrics))
    assert means[1] > 1.5 * means[0]
