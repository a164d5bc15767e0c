"""Scratch folders go with their context; those of killed processes with the next start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ddgm.workers.scratch import ScratchError, scratch_folder

KILLED = """
import os, signal
from ddgm.workers.scratch import scratch_folder
with scratch_folder() as folder:
    os.mkdir(folder + "/worker")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
def test_the_folder_of_a_killed_process_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    being_made = tmp_path / "ddgm-being-made"
    being_made.mkdir()
    linked = tmp_path / "ddgm-link"
    linked.symlink_to(being_made)
    with scratch_folder() as living:
        subprocess.run([sys.executable, "-c", KILLED])
        (killed,) = set(tmp_path.iterdir()) - {being_made, linked, Path(living)}
        assert (killed / "worker").is_dir()
        with scratch_folder() as other:
            there = {being_made, linked, Path(living), Path(other)}
            assert set(tmp_path.iterdir()) == there
    assert set(tmp_path.iterdir()) == {being_made, linked}


def test_where_none_can_be_made_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        pytest.raises(ScratchError, match="set TMPDIR to one on a disk with room"),
        scratch_folder(),
    ):
        pass
