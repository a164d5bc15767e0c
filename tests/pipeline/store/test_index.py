"""The index of the ledger says what the records say, and no more once they have changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.run.events import BlockDone, BlockFailed
from ddgm.pipeline.run.index_files import IndexFiles
from ddgm.pipeline.spec.layout import layout_of, shard_keys
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.ledger import Ledger, Record, record_name
from ddgm.pipeline.store.tables import index as index_module
from ddgm.pipeline.store.tables.index import LedgerIndex
from ddgm.pipeline.store.tables.statistics import RunStatistics
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from tests.pipeline.runs import LAYERS, small_spec

BLOCKS = 1008
RECORDS = [
    Record(
        block,
        "d",
        "done",
        1 + block % 2,
        missing_voxels=block,
        metrics=[{"slice": 2.0 * block, "residual": 1.0 / block}, {"slice": 2.0 * block + 1}],
        seconds={"fetch": 0.5} if block % 2 else {},
        worker=f"w{block}",
        finished=f"2026-01-01T00:00:{block % 60:02d}+00:00",
        sizes={"truth": block},
    )
    for block in (1000, 1001, 1003, 1004)
]
FAILED = Record(1002, "d", "failed", cause="gone")


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(index_module, "WORTH", 3)
    ledger = Ledger(Folder(str(tmp_path)))
    for record in [*RECORDS, FAILED, replace(RECORDS[0], block=1005, digest="other")]:
        ledger.put(record)
    ledger.put(replace(RECORDS[0], block=BLOCKS))  # of a larger plan
    return ledger


def statistics(ledger: Ledger, keep: bool = False, digest: str = "d") -> dict[str, Any]:
    return RunStatistics.of(LedgerIndex(ledger.folder, digest, BLOCKS).ended(keep)).summary()


def file_of(ledger: Ledger, block: int) -> Path:
    return Path(ledger.folder.root) / record_name(block)


def unreadable(path: Path) -> None:
    """Spoil a file, and leave its size and its time."""
    about = path.stat()
    path.write_bytes(b" " * about.st_size)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_the_index_says_what_the_records_say(ledger: Ledger) -> None:
    read = statistics(ledger)
    assert (read["done"], read["failed"], read["retried"]) == (4, 1, 2)
    assert read["worst"][0] == (1 / 1000, 2000, 1000)
    assert not (Path(ledger.folder.root) / "ledger/index").exists()  # who only looks writes nothing
    assert statistics(ledger, keep=True) == read
    for record in RECORDS:
        unreadable(file_of(ledger, record.block))
    assert statistics(ledger) == read
    parts = list(LedgerIndex(ledger.folder, "d", BLOCKS).ended())
    assert [w for part in parts for w in part.worker.tolist()] == [r.worker for r in RECORDS]


def test_a_record_that_has_gone_or_changed_since_is_not_taken_from_the_index(
    ledger: Ledger,
) -> None:
    statistics(ledger, keep=True)
    ledger.forget(1000)
    ledger.put(replace(RECORDS[1], missing_voxels=70_000))
    ledger.put(replace(FAILED, block=1003))
    ledger.put(replace(RECORDS[0], block=1002))
    found = statistics(ledger)
    assert (found["done"], found["failed"]) == (3, 1)
    assert found["missing_voxels"] == 70_000 + 1000 + 1004


def test_an_index_that_is_damaged_or_of_another_run_counts_for_nothing(ledger: Ledger) -> None:
    read = statistics(ledger, keep=True)
    path = Path(ledger.folder.root) / "ledger/index/001.npz"
    whole = path.read_bytes()
    assert statistics(ledger, digest="another")["done"] == 0
    for spoilt in (b"", whole[:-1], whole[:40] + b"x" + whole[41:], b"x" + whole[1:]):
        path.write_bytes(spoilt)
        assert statistics(ledger) == read


def test_a_thousand_is_indexed_once_its_last_block_has_ended(ledger: Ledger) -> None:
    path = Path(ledger.folder.root) / "ledger/index/001.npz"
    files = IndexFiles(LedgerIndex(ledger.folder, "d", BLOCKS), np.array([7, 1002, 1003]))
    files(BlockDone(RECORDS[2]))
    assert not path.exists()
    files(BlockFailed(FAILED))
    files.close()
    assert path.exists()


def test_keys_of_many_shards_are_those_of_each(tmp_path: Path) -> None:
    info = VolumeInfo(Box((10, 20, 7), (110, 305, 25)), (16.0,) * 3, "uint8", (32, 32, 16), 1, 0)  # type: ignore[arg-type]
    for axes in ("zyx", "xzy"):
        names = dict(zip(("thickness_axis", "width_axis", "tilt_axis"), axes, strict=True))
        sides = {"thickness": 16, "width": 16, "slabs": (1, 3, 2)}
        spec = small_spec("a", tmp_path, Path("w"), slab={**names, **sides})
        plan = make_plan(spec, info)
        layers: tuple[Layer, ...] = LAYERS
        for layout in (layout_of(plan, layer) for layer in layers):
            keys = [layout.key(block) for block in plan.blocks()]
            assert shard_keys(plan, layout, np.arange(plan.block_count)) == keys
