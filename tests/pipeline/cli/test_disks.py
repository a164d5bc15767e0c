"""Disks that are full, or read-only: said in one line, and finished blocks are kept."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ddgm.pipeline.errors import EXIT_STATUS
from tests.pipeline.cli.words import one_line, write_spec
from tests.pipeline.runs import run_ddgm, spec_data
from tests.workers.shared import Shared

pytestmark = pytest.mark.process


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, which can really be full."""
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        yield folder
    finally:
        # lazily: the shared workers still have their logs open
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_the_run_at_once_and_finished_blocks_are_kept(
    capsys: pytest.CaptureFixture[str],
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
) -> None:
    # eight blocks of about 130 kB, most of it sinograms, which hardly compress
    with small_disk(tmp_path / "disk", "900k") as disk:
        data = spec_data(volume, disk / "run", tiny_prior)
        path = write_spec(tmp_path, data | {"cluster": shared.part})
        status, _, err = run_ddgm(capsys, "run", path)
        assert status == EXIT_STATUS["storage"]
        assert "No space left" in err
        assert "finished blocks are kept" in one_line(err)
        status, out, _ = run_ddgm(capsys, "verify", disk / "run")
        assert status == EXIT_STATUS["blocks"]
        assert all("not done yet" in line for line in out.splitlines() if line.startswith("block"))
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        status, _, err = run_ddgm(capsys, "run", path)
        assert status == 0, err
        assert run_ddgm(capsys, "verify", disk / "run")[0] == 0


def test_a_disk_with_no_room_for_the_output_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk:
        path = write_spec(tmp_path, spec_data(volume, disk / "run", tiny_prior))
        status, _, err = run_ddgm(capsys, "run", path)
        assert status == EXIT_STATUS["storage"]
        assert "free" in one_line(err)
        assert list(disk.iterdir()) == []


def test_a_read_only_disk_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    with small_disk(tmp_path / "disk", "20m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        path = write_spec(tmp_path, spec_data(volume, disk / "run", tiny_prior))
        status, _, err = run_ddgm(capsys, "run", path)
        assert status == EXIT_STATUS["storage"]
        assert f"{disk}/run: Read-only file system; make room or mend" in one_line(err)
        assert list(disk.iterdir()) == []


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small TMPDIR of its own, from which nothing is executed."""
    with small_disk(tmp_path / "tmp", "64k,nr_inodes=64,noexec") as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield disk


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.cluster
def test_a_run_needs_neither_room_nor_programs_in_tmpdir(
    capsys: pytest.CaptureFixture[str],
    temporary: Path,
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
) -> None:
    fill(temporary)
    path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", tiny_prior))
    status, _, err = run_ddgm(capsys, "run", path)
    assert status == 0, err
    assert run_ddgm(capsys, "verify", tmp_path / "run")[0] == 0


def test_a_tmpdir_that_takes_no_folder_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str],
    temporary: Path,
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
) -> None:
    tempfile.gettempdir()  # which tries it, and would take another
    with suppress(OSError):
        for number in range(100):
            (temporary / str(number)).touch()
    path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", tiny_prior))
    status, _, err = run_ddgm(capsys, "run", path)
    assert status == EXIT_STATUS["storage"]
    assert "no folder for scratch can be made" in one_line(err)
    assert "set TMPDIR to one on a disk with room" in one_line(err)
