"""Text from outside is shown as it is: it is no markup, and moves no terminal."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.progress_bar import counted
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.terminal import Terminal, printable, table
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.runs import run_ddgm, small_spec

MARKUP = "r[old] [/b] [red]:smile:"
ESCAPES = "\x1b]0;title\x07\x1b[2J\r\u202e\x9b"
SHOWN = r"\x1b]0;title\x07\x1b[2J\r\u202e\x9b"


@pytest.mark.parametrize("text", [MARKUP, "plain, 12 µm\n\ttabbed", "é, 日本, 😀"])
def test_what_is_no_control_character_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_shows_markup_and_control_characters_as_text(terminal: bool) -> None:
    out = io.StringIO()
    console = Terminal(file=out, force_terminal=terminal, width=200, color_system=None)
    console.print(f"{MARKUP} {ESCAPES}")
    console.print(table(f"run {MARKUP}", [(f"block {ESCAPES}", MARKUP)]))
    with counted(console, f"points {MARKUP}") as show:
        show(1, 2)
    text = out.getvalue()
    assert text.splitlines()[0] == f"{MARKUP} {SHOWN}"
    assert text.count(MARKUP) >= 3 + terminal
    assert not set("\x07\x9b\u202e") & set(text)
    assert "\x1b]0;" not in text


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, volume: str, tiny_prior: Path) -> Path:
    root = tmp_path_factory.mktemp("runs")
    run_alone(small_spec(volume, root / "run", tiny_prior), 0)
    return root


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A run in a folder of an odd name, with a cause, a worker and a host as odd."""
    root = tmp_path / f"x{MARKUP.replace('/', '')}"
    shutil.copytree(runs / "run", root)
    store = RunStore(str(root))
    record = next(store.ledger.records())
    store.ledger.put(replace(record, worker=f"tcp://{MARKUP}{ESCAPES}:1"))
    cause = f"SourceError: the server says {MARKUP} {ESCAPES}"
    store.ledger.put(Record(1, record.digest, "failed", 3, cause=cause))
    return root


@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_a_run_with_odd_names_and_causes_is_told_of(
    capsys: pytest.CaptureFixture[str], run: Path, command: str
) -> None:
    _, out, err = run_ddgm(capsys, command, run)
    said = out + err
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(said)
    if command == "status":
        assert f"the server says {MARKUP} {SHOWN}" in "".join(out.split("\n")).replace("  ", "")
    else:
        assert str(run) in said


@pytest.mark.cluster
def test_a_failed_block_is_told_of_as_it_is(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    volume: str,
    tiny_prior: Path,
) -> None:
    from ddgm.pipeline.run import preflight

    def fails(*args: Any) -> None:
        raise SourceError(f"{MARKUP} {ESCAPES}", "unreachable")

    monkeypatch.setattr(preflight, "make_plan", fails)
    spec = small_spec(volume, tmp_path / "run", tiny_prior)
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(spec.model_dump(mode="json")))
    status, _, err = run_ddgm(capsys, "run", path)
    assert (status, err) == (5, f"error: {MARKUP} {SHOWN}\n")


def test_ingest_names_the_volume_as_it_was_given(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "em.npy", np.zeros((4, 4, 4), np.uint8))
    url = f"file://{tmp_path}/em[x]"
    status, out, _ = run_ddgm(
        capsys, "ingest", tmp_path / "em.npy", url, "--voxel-size", 16, 16, 16
    )
    assert status == 0
    assert f"wrote {url}; name it in a spec as precomputed://{url}" in out


def test_a_console_that_nobody_reads_goes_on() -> None:
    """As in `ddgm run spec.yaml | head -1`: the work is what counts."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        terminal = Terminal(file=file)
        for _ in range(3):
            terminal.print("a line")
        print("one that is no console's", file=file, flush=True)
    assert terminal.quiet
