"""The command line as a user meets it: good input, and every kind of bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.core.networks.prior import PriorCard, save_prior
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.lock import run_lock
from ddgm.pipeline.volumes.cloudvolume_fixes import bound_http
from tests.pipeline.runs import phantom_volume, run_ddgm, small_spec, spec_data
from tests.pipeline.sample_volumes import chunk_file
from tests.workers.shared import Shared


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


def write_spec(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "spec.yaml"
    path.write_text(json.dumps(data))  # JSON is YAML
    return path


def one_line(err: str) -> str:
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


BAD = [
    ({"prior": {"colour": 1}}, "prior.colour: unknown key"),
    ({"source": {"box": {"z": [0, 40], "y": [20, 160], "x": [7, 23]}}}, "is not inside the volume"),
    ({"source": {"mip": 3}}, "the volume has mip 0"),
    ({"source": {"url": "precomputed://file:///not/there"}}, "not found"),
    ({"source": {"url": "precomputed://http://127.0.0.1:9"}}, "unreachable"),
    ({"prior": {"sha256": "0" * 64}}, "prior.sha256"),
    ({"prior": {"weights": "nonesuch"}}, "'nonesuch' is neither a shipped prior"),
    ({"prior": {"stride": 33}}, "prior.stride: 33 is more than the patch"),
    ({"method": {"step": {"absolute": 1.0}}}, "method.step: 1 would diverge"),
    ({"algebraic": {"step": {"relative": 2.5}}}, "algebraic.step: "),
    ({"method": {"sigma": [40.0, 0.03]}}, "method.sigma: [40.0, 0.03] is not within"),
    ({"slab": {"thickness": 65}}, "slab.thickness: 65 is more than the box's 64"),
    ({"cluster": {"kind": "scheduler_file", "path": "/not/there.json"}}, "no scheduler file"),
    ({"cluster": {"security": {"ca": "a", "cert": "b"}}}, "cluster.security.key: required"),
    ({"pool": {"placement": "some"}}, "pool.placement: input should be 'whole' or 'calls'"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    change: dict[str, dict[str, Any]],
    message: str,
) -> None:
    bound_http(attempts=2, backoff=0.0)
    data = spec_data(volume, tmp_path / "run", tiny_prior, **change)
    if "scheduler_file" in str(change):
        data["cluster"] = change["cluster"]
    status, _, err = run_ddgm(capsys, "run", write_spec(tmp_path, data))
    bound_http()
    assert status == 1
    assert message in one_line(err)
    ledger = tmp_path / "run" / "ledger"
    assert not ledger.exists()


def test_weights_that_do_not_fit_their_card_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, volume: str
) -> None:
    weights = tmp_path / "odd.safetensors"
    save_prior(weights, UNet(Architecture(width=8)), PriorCard(Architecture(width=16), 1, 1, 16))
    path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", weights))
    status, _, err = run_ddgm(capsys, "run", path)
    assert status == 1
    assert "does not fit its architecture" in one_line(err)
    assert not (tmp_path / "run").exists()


def test_an_output_of_another_spec_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    run_alone(small_spec(volume, tmp_path / "run", tiny_prior), 0)
    files = sorted(p for p in (tmp_path / "run").rglob("*") if p.is_file())
    data = spec_data(volume, tmp_path / "run", tiny_prior, tilts={"seed": 1})
    status, _, err = run_ddgm(capsys, "run", write_spec(tmp_path, data))
    assert status == 1
    assert "belongs to another spec" in one_line(err)
    assert "--overwrite" in err
    assert sorted(p for p in (tmp_path / "run").rglob("*") if p.is_file()) == files


def test_missing_chunks_end_the_run_with_the_commands_that_reproduce_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em", chunk=(32, 140, 8))
    chunk_file(tmp_path / "em", (10, 20, 15)).unlink()
    path = write_spec(tmp_path, spec_data(url, tmp_path / "run", tiny_prior))
    status, out, err = run_ddgm(capsys, "run", path)
    assert status == 1
    assert "2 of 8 blocks failed" in one_line(err)
    assert "for the method alone: it took" in out
    assert re.search(r"memory predicted +[\d.]+ [MG]B a worker, [\d.]+ [MG]B held", out)
    assert f"ddgm block {path} --id 2" in out
    assert f"ddgm block {path} --id 3" in out
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
    assert "placement: here" in out
    assert re.search(r"workers at the network +\d+% of the time", out)
    assert re.search(r"worst data residuals +slice \d+ of block \d: ", out)
    status, out, err = run_ddgm(capsys, "verify", tmp_path / "run")
    assert status == 1
    assert "block 2: failed" in out


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
        assert status == 1
        assert "No space left" in err
        assert "finished blocks are kept" in one_line(err)
        status, out, _ = run_ddgm(capsys, "verify", disk / "run")
        assert status == 1
        assert all("not done yet" in line for line in out.splitlines() if line.startswith("block"))
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert run_ddgm(capsys, "run", path)[0] == 0
        assert run_ddgm(capsys, "verify", disk / "run")[0] == 0


def test_a_disk_with_no_room_for_the_output_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk:
        path = write_spec(tmp_path, spec_data(volume, disk / "run", tiny_prior))
        status, _, err = run_ddgm(capsys, "run", path)
        assert status == 1
        assert "free" in one_line(err)
        assert list(disk.iterdir()) == []


def test_a_read_only_disk_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    with small_disk(tmp_path / "disk", "20m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        path = write_spec(tmp_path, spec_data(volume, disk / "run", tiny_prior))
        status, _, err = run_ddgm(capsys, "run", path)
        assert status == 1
        assert f"{disk}/run: Read-only file system; make room or mend" in one_line(err)
        assert list(disk.iterdir()) == []


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
    assert status == 1
    assert "block 1: truth" in out
    assert "block 0" not in out
    assert "1 of 2 blocks" in one_line(err)
    assert f"ddgm repair {tmp_path / 'run'}" in err
    status, out, _ = run_ddgm(capsys, "repair", tmp_path / "run")
    assert status == 0
    assert "1 blocks mended" in out
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
    assert status == 1
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
    assert "1 blocks mended" in out
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
    assert status == 1
    assert "1 blocks are not done, which `ddgm repair` leaves; run the spec again" in one_line(err)
    (root / "volume.zarr/truth/0/c/0/0/0").write_bytes(b"")
    (root / "volume.zarr/zarr.json").unlink()
    with run_lock(Folder(str(root))):
        status, _, err = run_ddgm(capsys, "repair", root)
    assert status == 1
    assert "is being written by process" in one_line(err)
    assert (root / "ledger/000/000000.json").exists()
    assert not (root / "volume.zarr/zarr.json").exists()


def test_plan_says_what_a_run_costs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    # blocks of 4 slices cut chunks of 16, and 140 pixels take five chunks of 32
    path = write_spec(tmp_path, spec_data(volume, tmp_path / "run", tiny_prior))
    status, out, _ = run_ddgm(capsys, "plan", path)
    assert status == 0
    for words in ("8 of 4 slices", "32 of 32 x 140", "4.57 x what is used", "time, as on this"):
        assert words in out
    assert not (tmp_path / "run").exists()


def test_a_plan_for_a_cluster_elsewhere_says_what_a_block_takes_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    data = spec_data(volume, tmp_path / "run", tiny_prior, prior={"batch": 64})
    data["cluster"] = {"kind": "address", "address": "tcp://127.0.0.1:1"}  # nobody is there
    status, out, _ = run_ddgm(capsys, "plan", write_spec(tmp_path, data))
    assert status == 0
    text = " ".join(out.split())
    assert re.search(r"time of a block, as on this machine .* a run times its own", text)
    assert "batches of 64, 38% full: block.batch 32 or a multiple of it fills them" in text


def test_hemibrain_is_planned_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.resources import files

    bound_http(attempts=1)
    status, out, _ = run_ddgm(
        capsys, "plan", files("ddgm.deploy.specs").joinpath("hemibrain.yaml"), "--no-calibrate"
    )
    bound_http()
    assert status == 0
    assert "42000 of 128 x 1568" in out
    assert "1050 of 40 slices" in out


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
    assert "properties" in json.loads(run_ddgm(capsys, "spec", "--schema")[1])
    (tmp_path / "example.yaml").write_text(run_ddgm(capsys, "spec", "--example")[1])
    status, out, _ = run_ddgm(capsys, "spec", tmp_path / "example.yaml")
    assert status == 0
    (tmp_path / "again.yaml").write_text(out)
    assert run_ddgm(capsys, "spec", tmp_path / "again.yaml")[1] == out
    assert isinstance(Spec.model_json_schema(), dict)


def test_a_password_on_the_command_line_is_refused_and_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run_ddgm(capsys, "status", "s3://key:hush/hush@bucket/run")
    assert status == 1
    assert "take it out" in one_line(err)
    assert "hush" not in out + err


@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_a_folder_without_a_run_is_said_to_be_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    status, _, err = run_ddgm(capsys, command, tmp_path)
    assert status == 1
    assert "no run.json" in one_line(err)


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "plan",
        "run",
        "block",
        "status",
        "verify",
        "repair",
        "report",
        "ingest",
        "spec",
        "generate",
        "submit",
        "cancel",
    ],
)
def test_every_command_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    status, out, _ = run_ddgm(capsys, command, "--help")
    assert status == 0
    assert "Example" in out


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    heavy = ("torch", "distributed", "zarr", "cloudvolume", "matplotlib")
    code = f"import sys, ddgm.pipeline.cli; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert out.stdout.strip() == "[]"
