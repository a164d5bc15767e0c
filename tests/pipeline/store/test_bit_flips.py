"""Everything that a reader sees or a report says is under a checksum that verify recomputes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ddgm.core.errors import DdgmError
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.run.verify import verify_run
from ddgm.pipeline.spec.model import Spec
from tests.pipeline.runs import phantom_volume, spec_data

pytestmark = pytest.mark.long

FLIPS = 80
FILES = {
    "shard": "volume.zarr/reconstruction/0/c/0/0/0",
    "array": "volume.zarr/reconstruction/0/zarr.json",
    "OME": "volume.zarr/reconstruction/zarr.json",
    "record": "ledger/000/000000.json",
    "run.json": "run.json",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Path:
    """A run of one block and one layer, done: all of it is looked at for each bit."""
    folder = tmp_path_factory.mktemp("flips")
    url = phantom_volume(folder / "em")
    source = {"url": url, "box": {"z": [10, 42], "y": [20, 160], "x": [7, 11]}}
    data = spec_data(url, folder / "run", tiny_prior, source=source)
    data["output"]["layers"] = ["reconstruction"]
    run_alone(Spec.model_validate(data), 0)
    assert problems(folder / "run") == []
    return folder / "run"


def problems(root: Path) -> list[str]:
    """What verify says of a run; the one line that it refuses it with."""
    try:
        return verify_run(str(root), Console(file=io.StringIO())).problems
    except DdgmError as error:
        return [str(error)]


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_every_flipped_bit(run: Path, name: str) -> None:
    path = run / FILES[name]
    whole, rng = path.read_bytes(), np.random.default_rng(8)
    for _ in range(FLIPS):
        damaged, at, bit = bytearray(whole), int(rng.integers(len(whole))), int(rng.integers(8))
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        found = problems(run)
        path.write_bytes(whole)
        assert found, f"byte {at}, bit {bit}"
        assert all("\n" not in problem for problem in found)
    assert problems(run) == []


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"7", b'{"a": {}}', b"[" * 100_000, None])
@pytest.mark.parametrize("name", [n for n in FILES if n != "shard"])
def test_odd_files_and_folders_in_place_of_files_are_one_line(
    run: Path, name: str, content: bytes | None
) -> None:
    path = run / FILES[name]
    whole = path.read_bytes()
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    found = problems(run)
    path.rmdir() if content is None else path.unlink()
    path.write_bytes(whole)
    assert found
    assert all("\n" not in problem for problem in found)


def test_a_record_of_another_block_is_damage(run: Path) -> None:
    first = run / FILES["record"]
    other = first.with_name("000001.json")
    other.write_bytes(first.read_bytes())
    whole = first.read_bytes()
    first.write_bytes(whole.replace(b'"block": 0', b'"block": 1'))
    found = problems(run)
    first.write_bytes(whole)
    other.unlink()
    assert "its record cannot be used" in found[0]
