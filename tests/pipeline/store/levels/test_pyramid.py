"""Coarser levels through the commands: damage, a killed process, a run of before there were any."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run.runner import run, run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.arrays import metadata
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.cli.words import one_line
from tests.pipeline.runs import layers, phantom_volume, run_ddgm, small_spec

pytestmark = pytest.mark.process

KILLED = """
import os, sys
from pathlib import Path
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.store.levels.making import Levels
Levels.climb = lambda *_: os._exit(9)
run_alone(load_spec(Path(sys.argv[1])), 1)
"""


def spec_of(root: Path, volume: str, prior: Path) -> Spec:
    """Two blocks, below one shard of each of two coarser levels."""
    return small_spec(volume, root, prior, block={"slices": 16})


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path, volume: str) -> Path:
    root = tmp_path_factory.mktemp("pyramid") / "run"
    for block in range(2):
        run_alone(spec_of(root, volume, tiny_prior), block)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of a run that is done."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def files(root: Path) -> dict[str, bytes]:
    found = (p for p in root.rglob("*") if p.is_file() and "logs" not in p.parts)
    return {str(p.relative_to(root)): p.read_bytes() for p in found}


def flat(out: str) -> str:
    return " ".join(out.split())


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])


def before_levels(root: Path, plan_spec: Spec) -> None:
    """Turn a run into one that a version without levels made."""
    store = RunStore(str(root))
    for path in [root / "ledger/levels", *(root / "volume.zarr").glob("*/[1-9]")]:
        shutil.rmtree(path)
    for name, data in metadata(make_plan(plan_spec)).items():
        (root / "volume.zarr" / name).write_bytes(data)
    manifest = store.manifest()
    assert manifest.pop("levels") == 2
    store.write_manifest(manifest)


def test_a_flipped_bit_in_a_coarser_level_is_found_and_mended(
    capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    before = files(root)
    status, out, _ = run_ddgm(capsys, "verify", root)
    assert status == 0
    assert "as the ledger says: 2 blocks and 2 shards of coarser levels" in flat(out)
    flip(root / "volume.zarr/truth/1/c/0/0/0")
    (root / "volume.zarr/algebraic/2/zarr.json").unlink()
    (root / "volume.zarr/reconstruction/2/c/0/0/0").unlink()
    status, out, err = run_ddgm(capsys, "verify", root)
    assert status == EXIT_STATUS["damage"]
    assert "level 1, shard c/0/0/0: truth" in out
    assert "level 2, shard c/0/0/0: reconstruction" in out
    assert "1 file of metadata and 2 of 2 shards of coarser levels" in one_line(err)
    status, out, err = run_ddgm(capsys, "repair", root)
    assert (status, err) == (0, "")
    assert "0 blocks mended, 2 shards of coarser levels made again" in flat(out)
    assert files(root) == before


def test_a_process_that_is_killed_before_the_levels_leaves_them_to_the_next(
    capsys: pytest.CaptureFixture[str], made: Path, tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    spec = spec_of(tmp_path / "run", volume, tiny_prior)
    (tmp_path / "spec.yaml").write_text(dump_spec(spec))
    run_alone(spec, 0)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "spec.yaml")]
    assert subprocess.run(command, check=False).returncode == 9
    (tmp_path / "run/driver.json").unlink()
    assert run_ddgm(capsys, "verify", spec.output.path)[0] == EXIT_STATUS["damage"]
    result = run(spec, lambda event: None)
    assert (result.resumed, result.done) == (2, 0)
    assert layers(tmp_path / "run") == layers(made)
    assert run_ddgm(capsys, "verify", spec.output.path)[0] == 0


def test_a_run_of_before_there_were_levels_goes_on_and_is_given_them(
    capsys: pytest.CaptureFixture[str], made: Path, root: Path, tiny_prior: Path, volume: str
) -> None:
    spec = spec_of(root, volume, tiny_prior)
    before_levels(root, spec_of(made, volume, tiny_prior))
    status, out, _ = run_ddgm(capsys, "verify", root)
    assert status == 0
    assert "as the ledger says: 2 blocks" in flat(out)
    (root / "ledger/000/000001.json").unlink()
    run_alone(spec_of(root, volume, tiny_prior), 1)
    assert run(spec, lambda event: None).resumed == 2
    assert not (root / "volume.zarr/truth/1").exists()
    assert run_ddgm(capsys, "repair", root)[0] == 0
    status, out, err = run_ddgm(capsys, "pyramid", root)
    assert (status, err) == (0, "")
    assert "each image has 2 coarser levels" in flat(out)
    assert layers(root) == layers(made)
    assert json.loads((root / "run.json").read_text())["levels"] == 2
    assert run_ddgm(capsys, "verify", root)[0] == 0


def test_an_addition_that_was_cut_off_is_gone_on_with(
    capsys: pytest.CaptureFixture[str], made: Path, root: Path, tiny_prior: Path, volume: str
) -> None:
    before_levels(root, spec_of(made, volume, tiny_prior))
    RunStore(str(root)).arrays.mend_metadata(make_plan(spec_of(root, volume, tiny_prior)), 2)
    assert run_ddgm(capsys, "pyramid", root)[0] == 0
    assert layers(root) == layers(made)


def test_levels_are_not_made_of_what_is_damaged(
    capsys: pytest.CaptureFixture[str], made: Path, root: Path, tiny_prior: Path, volume: str
) -> None:
    before_levels(root, spec_of(made, volume, tiny_prior))
    flip(root / "volume.zarr/truth/0/c/1/0/0")
    status, _, err = run_ddgm(capsys, "pyramid", root)
    assert status == EXIT_STATUS["damage"]
    assert "truth/0/c/1/0/0 is damaged" in one_line(err)
    assert "ddgm repair" in err
    (root / "volume.zarr/truth/0/zarr.json").write_bytes(b"garbage")
    status, _, err = run_ddgm(capsys, "pyramid", root)
    assert status == EXIT_STATUS["damage"]
    assert "truth/0/zarr.json is missing or damaged; mend it with" in one_line(err)
