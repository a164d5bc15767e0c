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
from ddgm.pipeline.report.intervals import coverage, coverage_of
from ddgm.pipeline.report.run_data import load_run_data
from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.cli.words import one_line, write_spec
from tests.pipeline.runs import layer, layers, phantom_volume, run_ddgm, spec_data

pytestmark = pytest.mark.long

TAUGHT = {"z": [10, 42], "y": [20, 84], "x": [7, 21]}  # 14 slices, 13 of which 0.9 needs
OTHERS = {"z": [10, 42], "y": [84, 148], "x": [7, 21]}
METHOD = {"name": "ddx", "steps": 2, "samples": 2}


def data(url: str, out: Path, weights: Path, **parts: Any) -> dict[str, Any]:
    found = spec_data(url, out, weights, block={"slices": 14, "batch": 7})
    found["source"]["box"] = TAUGHT
    found["output"] |= {"dtype": "float32", "layers": ["reconstruction", "truth", "spread"]}
    found["method"] = METHOD
    for name, part in parts.items():
        both = isinstance(part, dict) and name in found and name != "method"
        found[name] = {**found[name], **part} if both else part
    return found


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module", params=[1, 2], ids=["one chain", "two chains"])
def samples(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def method(samples: int) -> dict[str, Any]:
    return {**METHOD, "samples": samples}


@pytest.fixture(scope="module")
def file(
    url: str, tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path, method: dict[str, Any]
) -> Path:
    """A calibration, made by the command of a run that is done."""
    folder = tmp_path_factory.mktemp("calibration")
    stored = ["reconstruction", "truth", *["spread"] * (method["samples"] > 1)]
    spec = data(url, folder / "taught", tiny_prior, method=method, output={"layers": stored})
    run_alone(Spec.model_validate_json(json.dumps(spec)), 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        from ddgm.pipeline.cli.run import calibrate

        calibrate(write_spec(folder, spec))
    return folder / "calibration.json"


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tilts": {"noise": 8.0}}, "with tilts.noise 4.1, and here it is 8.0"),
        ({"tilts": {"count": 12}}, "with tilts.count 24, and here it is 12"),
        ({"tilts": {"range": [-50, 50]}}, "with tilts.range [-60.0, 60.0], and here it is [-50"),
        ({"slab": {"thickness": 16}}, "with slab.thickness 32, and here it is 16"),
        ({"prior": {"weights": "small"}}, "with prior.weights"),
        ({"method": {**METHOD, "steps": 3}}, "with method.steps 2, and here it is 3"),
        ({"method": {"name": "ddgm", "steps": 2}}, 'with method.name "ddx", and here it is "ddgm"'),
        ({"source": {"intensity": {"mean": 130, "std": 30}}}, "with source.intensity"),
    ],
)
def test_other_conditions_are_refused_before_any_block(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    url: str,
    tiny_prior: Path,
    file: Path,
    method: dict[str, Any],
    change: dict[str, Any],
    said: str,
) -> None:
    output = {"layers": ["reconstruction", "truth"]}
    given = {"method": method, "output": output, **change}
    if change.get("method", {}).get("name") == "ddx":
        given["method"] = {**change["method"], "samples": method["samples"]}
    if "weights" in change.get("prior", {}):
        given["prior"] = {**change["prior"], "stride": 24}
    spec = {**data(url, tmp_path / "run", tiny_prior, **given), "calibration": str(file)}
    status, _, err = run_ddgm(capsys, "run", write_spec(tmp_path, spec))
    assert status == 1
    assert said in one_line(err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace('"rate": 0.9', '"rate": 0.8'), "it has changed since ddgm"),
        (lambda text: text[:100], "it is not one that ddgm wrote"),
        (None, "is not there; make it with `ddgm calibrate`"),
    ],
)
def test_an_edited_file_is_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    url: str,
    tiny_prior: Path,
    file: Path,
    method: dict[str, Any],
    spoil: Any,
    said: str,
) -> None:
    edited = tmp_path / "edited.json"
    if spoil is not None:
        text = spoil(file.read_text())
        assert text != file.read_text()
        edited.write_text(text)
    output = {"layers": ["reconstruction", "truth"]}
    spec = data(url, tmp_path / "run", tiny_prior, method=method, output=output)
    spec |= {"calibration": str(edited)}
    status, _, err = run_ddgm(capsys, "run", write_spec(tmp_path, spec))
    assert status == 1
    assert f"calibration: {edited}" in one_line(err)
    assert said in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (
            {"source": {"box": {**TAUGHT, "x": [7, 19]}}},
            [],
            "source.box: has 12 slices, and a rate of 0.9 needs 13",
        ),
        ({}, ["--rate", "0.95"], "has 14 slices, and a rate of 0.95 needs 28"),
        ({}, ["--rate", "1"], "--rate: 1 must lie within 0.5 and 0.999"),
        ({"output": {"layers": ["reconstruction", "spread"]}}, [], "output.layers: without truth"),
        ({"output": {"layers": ["reconstruction", "truth"]}}, [], "output.layers: without spread"),
        ({"output": {"dtype": "uint8"}}, [], "output.dtype: uint8 rounds"),
    ],
)
def test_a_spec_that_cannot_be_calibrated_on_is_refused_before_its_run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    url: str,
    tiny_prior: Path,
    change: dict[str, Any],
    words: list[str],
    said: str,
) -> None:
    spec = write_spec(tmp_path, data(url, tmp_path / "run", tiny_prior, **change))
    made = tmp_path / "made.json"
    status, _, err = run_ddgm(capsys, "calibrate", spec, "--output", made, *words)
    assert status == 1
    assert said in one_line(err)
    assert not made.exists()
    assert not (tmp_path / "run").exists()


def test_bounds_without_a_calibration_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"output.layers: high is an interval's end"):
        Spec.model_validate(
            {
                "source": {"url": url},
                "output": {"path": str(tmp_path), "layers": ("reconstruction", "high")},
            }
        )
