"""Calibrations that cannot be made, and runs that one was not made for: one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.spec.model import Spec
from tests.pipeline.calibration.taught import METHOD, TAUGHT, data
from tests.pipeline.cli.words import one_line, write_spec
from tests.pipeline.runs import run_ddgm

pytestmark = pytest.mark.long


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
