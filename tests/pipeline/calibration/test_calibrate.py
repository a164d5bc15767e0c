"""`ddgm calibrate`, and runs with its file: intervals in the layers low and high."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddgm.core.metrics.conformal import pixel_features
from ddgm.core.metrics.uncertainty import measured_share
from ddgm.pipeline.block.calibration import load_calibration
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.block.solver import cached_solver
from ddgm.pipeline.report.run_data import load_run_data
from ddgm.pipeline.report.trust.intervals import coverage, coverage_of
from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.calibration.taught import OTHERS, data
from tests.pipeline.runs import layer, layers

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def used(url: str, file: Path, tiny_prior: Path, method: dict[str, Any]) -> dict[str, Path]:
    """Two runs with the calibration, in float32 and rounded, of other tissue."""
    roots = {}
    for dtype in ("float32", "uint8"):
        roots[dtype] = file.parent / dtype
        output = {"dtype": dtype, "layers": ["reconstruction", "truth"]}
        spec = data(url, roots[dtype], tiny_prior, method=method, output=output)
        spec |= {"calibration": str(file)}
        spec["source"]["box"] = OTHERS
        run_alone(Spec.model_validate_json(json.dumps(spec)), 0)
    return roots


def test_low_and_high_are_the_map_scaled_about_the_reconstruction(
    used: dict[str, Path], file: Path, samples: int
) -> None:
    root = used["float32"]
    run, made = load_run_data(RunStore(str(root))), load_calibration(str(file))
    solver, grey = cached_solver(run.plan), grey_scale(run.plan)
    assert run.plan.spec.output.layers == ("reconstruction", "truth", "low", "high")
    x, low, high = (
        torch.from_numpy(layer(root, name).transpose(run.plan.axes).copy())
        for name in ("reconstruction", "low", "high")
    )
    assert set(made.map.curves) == {
        "measured", "depth", "contrast", "level", *["spread"] * (samples > 1)
    }  # fmt: skip
    if samples > 1:  # its spread is not stored
        assert torch.allclose((low + high) / 2, x, atol=1e-2)
        return
    normal = torch.from_numpy(grey.normalised(x.numpy()))
    measured = measured_share(solver.projector, normal, 4.1)  # type: ignore[arg-type]
    half = made.scale * made.map(pixel_features(normal, torch.zeros_like(x), measured)) * grey.std
    assert torch.allclose(low, x - half, atol=0.02)
    assert torch.allclose(high, x + half, atol=0.02)
    assert half.std() > 0.01 * half.mean()


def test_whole_grey_levels_lie_inside_rounded_ends_just_where_they_do_inside_real_ones(
    used: dict[str, Path],
) -> None:
    truth = layer(used["uint8"], "truth").astype(float)
    inside = {}
    for dtype, root in used.items():
        low, high, x = (layer(root, name) for name in ("low", "high", "reconstruction"))
        assert (low <= x).all()
        assert (x <= high).all()
        assert low.dtype == dtype
        inside[dtype] = (low.astype(float) <= truth) & (truth <= high.astype(float))
    assert (inside["float32"] != inside["uint8"]).mean() < 1e-3  # but for the reconstruction's own


def test_the_taught_slices_keep_the_promise(file: Path, url: str, tiny_prior: Path) -> None:
    made = load_calibration(str(file))
    assert (made.rate, made.slices.learnt, made.slices.scaled, made.slices.needed) == (
        0.9,
        4,
        10,
        9,
    )
    assert made.conditions["tilts.noise"] == 4.1
    assert made.data["slices"] == 14


def test_metrics_and_report_hold_the_intervals_against_the_truth(used: dict[str, Path]) -> None:
    root = used["float32"]
    run = load_run_data(RunStore(str(root)))
    low, high, truth, x = (layer(root, n) for n in ("low", "high", "truth", "reconstruction"))
    inside = ((low <= truth) & (truth <= high)).transpose(run.plan.axes)
    assert run.columns["coverage"] == pytest.approx(inside.mean((1, 2)), abs=1e-3)
    width = (high - low).transpose(run.plan.axes).mean((1, 2)) / grey_scale(run.plan).std
    assert run.columns["width"] == pytest.approx(width, rel=1e-3)
    found = coverage(run)
    assert found is not None
    assert found.inside == pytest.approx(inside.mean(), abs=1e-3)
    assert found.oracle == pytest.approx(2 * np.quantile(np.abs(x - truth), found.inside), rel=1e-2)
    write_report(str(root))
    page = (root / "report.html").read_text()
    assert "90 % were promised" in page
    assert f"{run.columns['coverage'].mean():.1%}" in page
    assert "Where the misses lie" in page


def test_coverage_is_told_by_width_depth_and_rank() -> None:
    draw = np.random.default_rng(0)
    width = draw.uniform(1, 5, (4, 32, 50))
    truth = np.zeros(width.shape)
    x = truth + np.where(
        width > 4, width, 0.4 * width
    )  # the widest quarter misses, all others hold
    found = coverage_of(x - width / 2, x + width / 2, truth, x)
    assert found.quartiles == pytest.approx([1, 1, 1, 0], abs=0.02)
    assert found.rank == pytest.approx(1, abs=1e-6)
    assert found.misses == pytest.approx(0.25, abs=0.05)
    assert found.width == pytest.approx(width.mean())


def test_the_digest_is_the_calibrations(
    url: str, used: dict[str, Path], file: Path, tiny_prior: Path, method: dict[str, Any]
) -> None:
    runs = [RunStore(str(used[dtype])).manifest() for dtype in used]
    assert runs[0]["intervals"] == runs[1]["intervals"]
    assert runs[0]["intervals"]["scale"] == load_calibration(str(file)).scale
    moved = file.parent / "moved.json"
    moved.write_bytes(file.read_bytes())
    before = layers(used["float32"])
    output = {"layers": ["reconstruction", "truth"]}
    spec = data(url, used["float32"], tiny_prior, method=method, output=output)
    spec |= {"calibration": str(moved)}
    spec["source"]["box"] = OTHERS
    run_alone(Spec.model_validate_json(json.dumps(spec)), 0)  # the same run, whatever its name
    assert layers(used["float32"]) == before
