"""A measured series is reconstructed as well as a simulated one, and says where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ddgm.core.projectors import FourierProjector
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.block.measured import completed, counted, scores, seen_by_all, sinograms
from ddgm.pipeline.block.solver import cached_solver
from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec import measured
from ddgm.pipeline.spec.opened import tilt_series
from ddgm.pipeline.spec.plan import Plan, make_plan
from tests.pipeline.runs import layer
from tests.pipeline.series import series_spec, stack_of

DEPTH, WIDTH, BESIDE = 16, 96, 40
ANGLES = [*np.linspace(-60, 54, 39).tolist(), 57.5, 60.5]
INSIDE = slice(8, WIDTH - 8)


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """Normalised, (thickness, rows, width): wider than what is imaged, and without frequencies that
    a detector of the views would take for others."""
    volume = gaussian_filter(neuropil((DEPTH, 8, WIDTH + 2 * BESIDE), seed=3)[:, :4] / 1.0, 1)
    return (volume - volume.mean()) / volume.std()


def slices(volume: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(volume.transpose(1, 0, 2))).float()


def error(root: Path, truth: np.ndarray) -> float:
    """Mean square error inside, in normalised units."""
    found = (layer(root, "reconstruction") - 137.0) / 30
    return float(((found - truth)[..., INSIDE] ** 2).mean())


def field(plan: Plan, tissue: np.ndarray) -> Tensor:
    """The slices that are solved for, margins and all."""
    side = (plan.solved.width - WIDTH) // 2
    return slices(tissue[..., BESIDE - side : BESIDE + WIDTH + side])


def test_it_is_as_good_as_the_same_tissue_simulated_though_tissue_goes_on_beside_it(
    tmp_path: Path, tissue: np.ndarray, tiny_prior: Path
) -> None:
    """At most 5 % more error than of views that the projector that undoes them has made."""
    files = stack_of(tmp_path, tissue, ANGLES, WIDTH)
    spec = series_spec(tmp_path, files, DEPTH, tiny_prior)
    plan = make_plan(spec)
    solver, block, x = cached_solver(plan), plan.block(0), field(plan, tissue)
    y, bins = sinograms(plan, tilt_series(spec).read(0, 4), block.origins)
    a = solver.projector
    assert isinstance(a, FourierProjector)
    noise = 4.1 * torch.randn(4, len(ANGLES), a.length, generator=torch.Generator().manual_seed(2))
    made = a.unwhiten(a.forward(x) + a.whiten(a.unwhiten(noise)))

    def error(sinograms: Tensor) -> float:
        off = a.proximal(a.whiten(sinograms))(torch.zeros_like(x), 10 * 4.1**2) - x
        side = (plan.solved.width - WIDTH) // 2 + INSIDE.start
        return float(off[..., side:-side].square().mean())

    own = error(completed(solver, made, bins))
    assert error(completed(solver, y, bins)) < 1.05 * own


def test_a_block_is_scored_by_its_views_and_by_those_held_out(
    tmp_path: Path, tissue: np.ndarray, tiny_prior: Path
) -> None:
    files = stack_of(tmp_path, tissue, ANGLES, WIDTH)
    spec = series_spec(tmp_path, files, DEPTH, tiny_prior, tilts={"hold_out": 8})
    found = run_block(prepare(spec), 0).metrics[0]
    assert {"residual", "held_out", "algebraic_residual", "algebraic_held_out"} <= set(found)
    assert not {"mse", "ssim", "contradicted"} & set(found)
    assert 0.4 < found["residual"] < 1 < found["held_out"] < 3


def test_tissue_that_is_turned_round_does_not_explain_its_views(
    tmp_path: Path, tissue: np.ndarray, tiny_prior: Path
) -> None:
    """The sign of the tilt: a mirrored slab has the mirrored views."""
    truth = tissue[..., BESIDE:-BESIDE]
    files = stack_of(tmp_path, tissue, ANGLES, WIDTH)
    spec = series_spec(
        tmp_path, files, DEPTH, tiny_prior, source={"intensity": {"mean": 137.0, "std": 30.0}}
    )
    run_block(prepare(spec), 0)
    assert error(tmp_path / "run", truth) < 0.5 * error(tmp_path / "run", truth[::-1])


def test_truth_has_a_residual_of_1_by_as_many_data_as_there_are(
    tmp_path: Path, tissue: np.ndarray, tiny_prior: Path
) -> None:
    files = stack_of(tmp_path, tissue, ANGLES, WIDTH)
    spec = series_spec(tmp_path, files, DEPTH, tiny_prior)
    plan = make_plan(spec)
    x = field(plan, tissue)
    y, bins = sinograms(plan, tilt_series(spec).read(0, 4), plan.block(0).origins)
    found = scores(cached_solver(plan), x, y, bins)["residual"]
    assert found.tolist() == pytest.approx([1.0] * 4, abs=0.12)
    assert float(found.mean()) == pytest.approx(1, abs=0.06)


def test_pixels_that_not_all_views_see_are_the_mean(
    tmp_path: Path, tissue: np.ndarray, tiny_prior: Path
) -> None:
    files = stack_of(tmp_path, tissue, ANGLES, WIDTH, dx=3.0)
    source = {"intensity": {"mean": 100.0, "std": 10.0}}
    run_block(prepare(series_spec(tmp_path, files, DEPTH, tiny_prior, source=source)), 0)
    for name in ("reconstruction", "algebraic"):
        made = layer(tmp_path / "run", name)
        assert (made[..., :3] == 100).all()
        assert (made[..., 6:-4] != 100).mean() > 0.99
    assert layer(tmp_path / "run", "reconstruction").shape == (DEPTH, 4, WIDTH)


def test_a_pixel_is_seen_where_its_beams_meet_bins_with_data() -> None:
    g = measured.geometry(16, 40, [(-50, 1), (0, 1), (30, 1)], 1)
    covered, middle = np.zeros((1, 3, g.bins), bool), (g.bins - 1) / 2
    spans = [(4, 60), (20, 47), (16, 70)]  # first bin, and the one after the last
    z, x = np.indices((16, 40))
    expected = np.ones((16, 40), bool)
    for view, (first, stop) in enumerate(spans):
        covered[0, view, first:stop] = True
        lateral = middle + x - 19.5 - (z - 7.5) * np.tan(g.angles[view])
        expected &= (lateral >= first) & (lateral <= stop - 1)
    found = seen_by_all(g, covered)[0].numpy()
    assert (found == expected).all()
    assert 100 < found.sum() < 500
    assert counted(g, covered)[0].any()
