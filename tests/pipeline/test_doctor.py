"""`ddgm doctor`: what it finds, what it advises, and when it fails."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline import doctor
from tests.pipeline.cli.words import one_line
from tests.pipeline.runs import run_ddgm

pytestmark = pytest.mark.process  # sbatch, where there is SLURM


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file, below which no folder can be made."""
    path = tmp_path / "file"
    path.touch()
    return path


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    status, out, err = run_ddgm(capsys, "doctor", "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_it_finds_what_runs_need_and_what_this_machine_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDGM_CACHE", str(tmp_path / "cache"))
    found = facts(capsys)
    assert (found["broken"], found["failed_packages"]) == ([], {})
    assert found["torch"]
    assert found["astra"]
    assert found["cores"] >= 1
    assert found["cache"] == str(tmp_path / "cache")
    assert "float32" in found["precisions"]
    assert {f"extra_{name}" for name in doctor.EXTRAS} <= found.keys()


def test_what_is_missing_has_a_remedy_and_is_no_failure(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho no configuration >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("DDGM_CACHE", str(file / "cache"))
    monkeypatch.setitem(doctor.EXTRAS, "train", "no_such_package")
    status, out, err = run_ddgm(capsys, "doctor")
    assert (status, err) == (0, "")
    assert "sbatch: no configuration" in out
    assert "cache: set DDGM_CACHE to a folder that can be written" in out
    assert "extra train: pip install 'ddgm[train]'" in out


def test_it_fails_where_no_run_can_do_without(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(file / "tmp"))
    monkeypatch.setattr(doctor, "NEEDED", ("zarr", "no_such_package"))
    status, out, err = run_ddgm(capsys, "doctor")
    assert status == 1
    assert "packages, temporary folder: no run can do without" in one_line(err)
    assert "no_such_package: " in out
    assert "temporary folder: set TMPDIR to a folder that can be written" in out
