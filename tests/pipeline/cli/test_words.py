"""Messages that misled people, as they are now."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.spec import yaml_file
from tests.pipeline.cli.words import one_line, write_spec
from tests.pipeline.runs import run_ddgm, spec_data

WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"method": {"name": "ddx", "gradient_steps": 25}},
        "method.gradient_steps: unknown key; known",
    ),
    ({"tilts": {"count": 1, "range": [-60, 60]}}, "and one view has one angle; give it as range: "),
    ({"tilts": {"count": 2, "range": [0, 0]}}, "tilts.range: [0.0, 0.0] must rise"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_key_or_value_is_answered_by_what_would_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    data = spec_data("em", tmp_path / "run", Path("small")) | change
    status, _, err = run_ddgm(capsys, "plan", write_spec(tmp_path, data))
    assert status == 1
    assert said in one_line(err)
    assert "did you mean" not in err


def test_one_view_may_have_any_angle(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, volume: str, tiny_prior: Path
) -> None:
    tilts = {"tilts": {"count": 1, "range": [10, 10]}}
    data = spec_data(volume, tmp_path / "run", tiny_prior, **tilts)
    assert run_ddgm(capsys, "plan", write_spec(tmp_path, data), "--no-calibrate")[0] == 0


def test_training_without_its_extra_names_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)
    _, _, err = run_ddgm(capsys, "train", tmp_path / "spec.yaml")
    assert "pip install 'ddgm[train]'" in one_line(err)


def ascii_locale() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.process
def test_a_spec_is_utf_8_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("# σ_y, 束\nsource: {url: em, mip: x}\n", "utf-8")
    command = [sys.executable, "-m", "ddgm.pipeline.cli"]
    for words in (["spec", "--example"], ["plan", str(tmp_path / "s.yaml")]):
        run = subprocess.run([*command, *words], env=ascii_locale(), capture_output=True)
        assert b"Traceback" not in run.stderr
    assert b"source.mip" in run.stderr


@pytest.mark.process
def test_a_broken_configuration_of_dask_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("distributed: [")
    command = [sys.executable, "-m", "ddgm.pipeline.cli", "plan", str(tmp_path / "s.yaml")]
    run = subprocess.run(
        command, env={**os.environ, "DASK_CONFIG": str(tmp_path)}, capture_output=True, text=True
    )
    assert f"{tmp_path}/site.yaml" in one_line(run.stderr)


def test_exit_statuses_are_those_of_the_documents(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a command that waits for nothing; those of runs have tests of their own."""
    (tmp_path / "spec.yaml").write_text("source: {url: em}\noutput: {path: run}\n")
    words = "spec", tmp_path / "spec.yaml"
    statuses = [run_ddgm(capsys, *words)[0]]
    statuses.append(run_ddgm(capsys, "spec", tmp_path / "none.yaml")[0])
    statuses.append(run_ddgm(capsys, *words, "--none")[0])
    monkeypatch.setattr(yaml_file, "load_spec", interrupted)
    statuses.append(run_ddgm(capsys, *words)[0])
    page = (Path(__file__).parents[3] / "docs/run.md").read_text("utf-8")
    assert statuses == [0, EXIT_STATUS["mistake"], 2, EXIT_STATUS["stopped"]]
    documented = re.findall(r"^\| (\d+) \| (?:`(\w+)`)?", page, re.MULTILINE)
    assert dict(documented) == {"0": "", "2": ""} | {str(n): k for k, n in EXIT_STATUS.items()}


def interrupted(_: Path) -> NoReturn:
    raise KeyboardInterrupt
