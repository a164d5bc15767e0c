"""The other commands as a user meets them, and the help of all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ddgm.core.geometry import Detector
from ddgm.core.networks.denoiser import Precision
from ddgm.pipeline import cli
from ddgm.pipeline.cli import options
from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.export.formats import Format
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.lock import run_lock
from tests.pipeline.cli.words import one_line, write_spec
from tests.pipeline.runs import phantom_volume, run_ddgm, spec_data
from tests.pipeline.sample_volumes import chunk_file

COMMANDS = [c.name or c.callback.__name__ for c in cli.app.registered_commands if c.callback]


@pytest.mark.cluster
def test_missing_chunks_end_the_run_with_the_commands_that_reproduce_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em", chunk=(32, 140, 8))
    chunk_file(tmp_path / "em", (10, 20, 15)).unlink()
    path = write_spec(tmp_path, spec_data(url, tmp_path / "run", tiny_prior))
    status, out, err = run_ddgm(capsys, "run", path)
    assert status == EXIT_STATUS["blocks"]
    assert "2 of 8 blocks failed" in one_line(err)
    assert re.search(r"memory predicted +[\d.]+ [MG]B a worker, [\d.]+ [MG]B held", out)
    assert f"ddgm block {path} --id 2" in out
    assert f"ddgm block {path} --id 3" in out
    assert f"to look at the volume: ddgm view {tmp_path / 'run'}" in out
    log = next(line for line in out.splitlines() if line.startswith("  log: "))
    said = [json.loads(line) for line in Path(log.removeprefix("  log: ")).read_text().splitlines()]
    failed = [e for e in said if e["event"] == "failed"]
    assert {(e["block"], e["stage"], "missing" in e["cause"]) for e in failed} == {
        (2, "fetch", True),
        (3, "fetch", True),
    }
    status, _, err = run_ddgm(capsys, "block", path, "--id", 2)
    assert status == 1
    assert "missing" in one_line(err)
    assert (tmp_path / "run/report.html").is_file()
    status, out, _ = run_ddgm(capsys, "status", tmp_path / "run")
    assert status == 0
    assert "6 done, 2 failed, 2 left" in out
    assert "placement: local" in out
    assert re.search(r"workers at the network +\d+% of the time", out)
    assert re.search(r"worst data residuals +slice \d+ of block \d: ", out)
    status, out, err = run_ddgm(capsys, "status", tmp_path / "run", "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert (facts["blocks"], facts["done"], facts["failed"], facts["left"]) == (8, 6, 2, 2)
    assert [f["block"] for f in facts["failures"]] == [2, 3]
    assert (facts["driver"], facts["placement"]) == (None, "local")
    assert (facts["outcome"]["kind"], facts["outcome"]["status"]) == ("blocks", 3)
    assert facts["mse"].keys() == facts["algebraic_mse"].keys() == {"mean", "median"}
    assert min(facts[k] for k in ("voxels_per_second", "peak_memory_bytes")) > 0
    assert facts["worst"][0].keys() == {"block", "slice", "residual"}
    status, out, err = run_ddgm(capsys, "verify", tmp_path / "run")
    assert status == EXIT_STATUS["blocks"]
    assert "block 2: failed" in out
    status, again, err = run_ddgm(capsys, "verify", tmp_path / "run", "--json")
    assert status == EXIT_STATUS["blocks"]
    assert "2 of 8 blocks" in one_line(err)
    facts = json.loads(again)
    assert facts["error"] == {
        "kind": "blocks",
        "message": one_line(err).removeprefix("error: ").rstrip("\n"),
    }
    assert (facts["blocks"], facts["missing"], facts["damaged"]) == (8, 2, [])
    assert facts["problems"]
    assert all(problem in out for problem in facts["problems"])


def test_status_watches_the_run_of_a_spec_until_its_driver_leaves(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", tiny_prior))
    status, _, err = run_ddgm(capsys, "status", path, "--watch")
    assert status == 1
    assert f"{tmp_path}/run: no run.json" in one_line(err)
    run_alone(load_spec(path), 0)
    waits = 0

    def sleep(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 2:
            held.close()
        elif waits > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.run, "time", SimpleNamespace(sleep=sleep))
    with ExitStack() as held:
        held.enter_context(run_lock(Folder(str(tmp_path / "run"))))
        status, out, err = run_ddgm(capsys, "status", path, "--watch")
    assert (status, err, waits) == (0, "", 2)
    drivers = re.findall(r"driver +(process|none)", out)
    assert drivers == ["process", "process", "none"]
    with run_lock(Folder(str(tmp_path / "run"))):
        status, out, err = run_ddgm(capsys, "status", path, "--watch")
    assert status == 130
    assert "the run itself goes on" in one_line(err)
    assert "1 done" in out
    assert run_ddgm(capsys, "status", path, "--watch", "--json")[0] == 2


def test_a_quiet_run_prints_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    data = spec_data(volume, tmp_path / "run", tiny_prior)
    data["source"] |= {"box": {"x": [7, 11], "y": [20, 160], "z": [10, 42]}}
    path = write_spec(tmp_path, data)
    assert make_plan(load_spec(path)).block_count == 1
    run_alone(load_spec(path), 0)
    status, out, err = run_ddgm(capsys, "run", path, "--quiet")
    assert (status, err) == (0, "")
    assert re.fullmatch(rf"1 block done in .*: {tmp_path}/run\n", out)
    assert "SSIM" in run_ddgm(capsys, "run", path)[1]


def test_ingest_makes_a_volume_that_a_plan_reads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path
) -> None:
    np.save(tmp_path / "em.npy", np.random.default_rng(0).integers(0, 255, (40, 50, 12), np.uint8))
    status, out, _ = run_ddgm(
        capsys, "ingest", tmp_path / "em.npy", f"file://{tmp_path}/em", "--voxel-size", 16, 16, 16
    )
    assert status == 0
    url = out.split()[-1]
    path = write_spec(tmp_path, spec_data(url, tmp_path / "run", tiny_prior))
    status, out, _ = run_ddgm(capsys, "plan", path, "--no-calibrate")
    assert status == 0
    assert "z 0:40, y 0:50, x 0:12" in out
    status, _, err = run_ddgm(
        capsys, "ingest", tmp_path / "no.npy", f"file://{tmp_path}/em2", "--voxel-size", 16, 16, 16
    )
    assert status == 1
    assert "no.npy" in one_line(err)


def test_spec_prints_a_schema_an_example_and_a_checked_spec(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    schema = json.loads(run_ddgm(capsys, "spec", "--schema")[1])
    assert {"source", "method", "output"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    (tmp_path / "example.yaml").write_text(run_ddgm(capsys, "spec", "--example")[1])
    status, out, _ = run_ddgm(capsys, "spec", tmp_path / "example.yaml")
    assert status == 0
    (tmp_path / "again.yaml").write_text(out)
    assert run_ddgm(capsys, "spec", tmp_path / "again.yaml")[1] == out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert len(COMMANDS) > 12
    status, out, _ = run_ddgm(capsys, command, "--help")
    assert status == 0
    assert "Example" in out


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        (["benchmark", "em", "--detector", "round"], ("perpendicular", "lateral")),
        (["benchmark", "em", "--precision", "int8"], ("float32", "bfloat16", "float8")),
        (["generate", "--precision", "int8"], ("float32", "bfloat16", "float8")),
        (["ingest", "em", "url", "--encoding", "gif"], ("raw", "jpeg")),
    ],
)
def test_what_is_no_choice_is_answered_with_the_choices(
    capsys: pytest.CaptureFixture[str], words: list[str], choices: tuple[str, ...]
) -> None:
    status, _, err = run_ddgm(capsys, *words)
    assert status == 2
    assert f"{words[-1]!r} is not one of {', '.join(map(repr, choices))}" in err


def test_the_choices_of_the_command_line_are_those_of_the_rooms() -> None:
    found = options.Detector, options.Precision, options.Format
    assert found == (Detector, Precision, Format)


@pytest.mark.process
def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    heavy = (
        "torch",
        "distributed",
        "zarr",
        "cloudvolume",
        "matplotlib",
        "pydantic",
        "numpy",
        "rich.progress",
        "rich.markdown",
    )
    code = f"import sys, ddgm.pipeline.cli; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.process
@pytest.mark.parametrize(
    ("typed", "offered"), [("ddgm exp", "export"), ("ddgm run --over", "--overwrite")]
)
def test_a_shell_completes_commands_and_options(tmp_path: Path, typed: str, offered: str) -> None:
    command = tmp_path / "ddgm"
    command.write_text("from ddgm.pipeline.cli import main\n\nmain()\n")
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    ran = subprocess.run(
        [sys.executable, command],
        capture_output=True,
        text=True,
        env={**os.environ, **asked, "_DDGM_COMPLETE": "complete_bash"},
    )
    assert (ran.stdout.split(), ran.stderr) == ([offered], "")


@pytest.mark.process
def test_no_process_of_a_run_imports_from_the_folder_that_it_is_started_in(
    tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    command = tmp_path / "command.py"  # like the installed one: its own folder comes first
    command.write_text(
        "from ddgm.pipeline.cli import main\n\nif __name__ == '__main__':\n    main()\n"
    )
    here = tmp_path / "here"
    here.mkdir()
    for name in ("pickle", "multiprocessing", "socket", "selectors"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / name)!r}, 'w').close()\n")
    data = spec_data(volume, tmp_path / "run", tiny_prior, cluster={"workers": 1})
    ran = subprocess.run(
        [sys.executable, command, "run", write_spec(tmp_path, data)],
        cwd=here,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    imported = [path.name for path in tmp_path.iterdir() if f"{path.name}.py" in os.listdir(here)]
    assert imported == []
