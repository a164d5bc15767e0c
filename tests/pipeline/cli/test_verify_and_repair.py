"""Damage is found by `ddgm verify` and mended by `ddgm repair`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run import runner, verify
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.run.verify import Found, verify_run
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.lock import run_lock
from ddgm.pipeline.terminal import console
from tests.pipeline.cli.words import one_line
from tests.pipeline.runs import run_ddgm, small_spec

pytestmark = pytest.mark.cluster


def test_verify_finds_a_flipped_bit_and_repair_mends_just_its_block(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    spec = small_spec(volume, tmp_path / "run", tiny_prior, block={"slices": 16})
    for block in range(2):
        run_alone(spec, block)
    assert run_ddgm(capsys, "verify", tmp_path / "run")[0] == 0
    shard = tmp_path / "run/volume.zarr/truth/0/c/1/0/0"
    good = shard.read_bytes()
    shard.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    others = [p for p in (tmp_path / "run/volume.zarr").rglob("c/*/*/*") if p != shard]
    before = [p.stat().st_mtime_ns for p in others if "/c/0/" in str(p)]
    status, out, err = run_ddgm(capsys, "verify", tmp_path / "run")
    assert status == EXIT_STATUS["damage"]
    assert "block 1: truth" in out
    assert "block 0" not in out
    assert "1 of 2 blocks" in one_line(err)
    status, out, again = run_ddgm(capsys, "verify", tmp_path / "run", "--json")
    assert (status, again) == (EXIT_STATUS["damage"], err)
    found = json.loads(out)
    assert (found["damaged"], found["error"]["kind"]) == ([1], "damage")
    assert f"ddgm repair {tmp_path / 'run'}" in err
    status, out, _ = run_ddgm(capsys, "repair", tmp_path / "run")
    assert status == 0
    assert "1 block mended" in out
    assert shard.read_bytes() == good
    assert [p.stat().st_mtime_ns for p in others if "/c/0/" in str(p)] == before
    assert run_ddgm(capsys, "verify", tmp_path / "run")[0] == 0


def test_repair_writes_metadata_again_and_loses_no_block(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    """A root without metadata, an array of garbage, another type; and one block that is damaged."""
    root = tmp_path / "run"
    spec = small_spec(volume, root, tiny_prior, block={"slices": 16})
    for block in range(2):
        run_alone(spec, block)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    (root / "volume.zarr/zarr.json").unlink()
    (root / "volume.zarr/truth/0/zarr.json").write_text("garbage")
    array = root / "volume.zarr/algebraic/0/zarr.json"
    array.write_text(array.read_text().replace('"uint8"', '"int8"'))
    status, out, err = run_ddgm(capsys, "verify", root)
    assert status == EXIT_STATUS["damage"]
    assert out.count("missing, or not as the plan gives") == 3
    assert "3 files of metadata are not as they should be" in one_line(err)
    assert "mend the metadata with `ddgm repair" in err
    status, out, err = run_ddgm(capsys, "repair", root)
    assert (status, err) == (0, "")
    assert "volume.zarr/zarr.json is missing or damaged, and written again" in " ".join(out.split())
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
    (root / "volume.zarr/truth/0/zarr.json").unlink()
    (root / "volume.zarr/truth/0/c/1/0/0").write_bytes(b"")
    status, out, err = run_ddgm(capsys, "repair", root)
    assert (status, err) == (0, "")
    assert "1 block mended" in out
    assert run_ddgm(capsys, "verify", root)[0] == 0
    assert {p: p.read_bytes() for p in before if "volume.zarr" in str(p)} == {
        p: data for p, data in before.items() if "volume.zarr" in str(p)
    }


def test_repair_says_what_it_leaves_and_forgets_nothing_that_another_driver_is_at(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    root = tmp_path / "run"
    spec = small_spec(volume, root, tiny_prior, block={"slices": 16})
    run_alone(spec, 0)
    status, _, err = run_ddgm(capsys, "repair", root)
    assert status == EXIT_STATUS["blocks"]
    assert "not done: 1 block, which `ddgm repair` leaves; run the spec again" in one_line(err)
    (root / "volume.zarr/truth/0/c/0/0/0").write_bytes(b"")
    (root / "volume.zarr/zarr.json").unlink()
    with run_lock(Folder(str(root))):
        status, _, err = run_ddgm(capsys, "repair", root)
    assert status == EXIT_STATUS["locked"]
    assert "is being written by process" in one_line(err)
    assert (root / "ledger/000/000000.json").exists()
    assert not (root / "volume.zarr/zarr.json").exists()


def test_repair_holds_one_lock_from_its_first_look_to_its_last_block(
    tmp_path: Path, tiny_prior: Path, volume: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    run_alone(small_spec(volume, root, tiny_prior, block={"slices": 16}), 0)
    (root / "volume.zarr/truth/0/c/0/0/0").write_bytes(b"")
    holders: list[str] = []

    def connect(*_: object) -> NoReturn:
        holders.append((root / "driver.json").read_text())
        raise DdgmError("a block is to be done again")

    def looked(*found: Any) -> Found:
        holders.append((root / "driver.json").read_text())
        return verify_run(*found)

    monkeypatch.setattr(runner, "connect", connect)
    monkeypatch.setattr(verify, "verify_run", looked)
    with pytest.raises(DdgmError, match="to be done again"):
        verify.repair_run(str(root), console, lambda event: None)
    first, last = map(json.loads, holders)
    assert first["token"] == last["token"]
    assert not (root / "driver.json").exists()
