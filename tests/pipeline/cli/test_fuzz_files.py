"""Files that commands read, damaged by the hundred with a fixed seed: a line each, no traceback.

What ddgm seals is damaged in two ways: as any accident would, and by somebody who seals it again.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from ddgm.core.errors import DdgmError
from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.report import write
from ddgm.pipeline.report.run_data import load_run_data
from ddgm.pipeline.run import runner
from ddgm.pipeline.store import lock
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.sealed import seal, unseal
from ddgm.pipeline.store.tables.statistics import RunStatistics
from ddgm.workers import connect as clusters
from ddgm.workers.specs import SchedulerFile
from tests.pipeline.cli.words import write_spec
from tests.pipeline.mutations import changed, spoilt
from tests.pipeline.runs import run_ddgm, spec_data

pytestmark = pytest.mark.long

READERS = "status", "verify", "repair", "run"
RECORD = "ledger/000/000000.json"
ARRAY = "volume.zarr/truth/0/zarr.json"

# exit statuses of `verify` where something is not as it was written
MENDABLE = {EXIT_STATUS[kind] for kind in ("mistake", "blocks", "damage")}

STATE = {
    "updated": "2026-01-01T00:00:00+00:00", "ended": False, "seconds": 1.0, "placement": "local",
    "block_workers": 1, "pool": 0, "busy": None, "retries": 0, "active": 0, "running": [],
    "predicted": None, "tally": RunStatistics().summary(),
}  # fmt: skip


class Made(NamedTuple):
    """A finished run, and the bytes of all its files."""

    root: Path
    spec: Path
    files: dict[Path, bytes]

    def restore(self) -> None:
        shutil.rmtree(self.root)
        for path, data in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, volume: str, tiny_prior: Path) -> Made:
    folder = tmp_path_factory.mktemp("fuzzed")
    box = {"z": [10, 42], "y": [20, 84], "x": [7, 9]}
    layers = {"layers": ["reconstruction", "truth"], "chunks": [16, 16, 2]}
    parts = {"source": {"box": box}, "block": {"slices": 1, "batch": 1}}
    data = spec_data(volume, folder / "run", tiny_prior, **parts)
    data["output"] |= layers
    spec = write_spec(folder, data)
    for block in range(2):
        runner.run_alone(runner.Spec.model_validate(data), block)
    root = folder / "run"
    (root / "state.json").write_bytes(
        seal(STATE | {"digest": unseal((root / "run.json").read_bytes())["digest"]})
    )
    (root / "driver.json").write_text(json.dumps({"token": "0" * 32, "host": "h", "pid": 1}))
    (root / "metrics.parquet").write_bytes(b"")
    return Made(root, spec, {p: p.read_bytes() for p in root.rglob("*") if p.is_file()})


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> Iterator[None]:
        raise DdgmError("cluster: a block is to be done again")

    monkeypatch.setattr(runner, "connect", connect)
    monkeypatch.setattr(write, "write_report", lambda *_: None)  # `run` writes one every time
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.01)  # a driver of elsewhere is soon taken for dead


def resealed(data: bytes, rng: random.Random) -> bytes:
    """The file as another version would write it, or who knows how."""
    content = changed(unseal(data), rng)
    return seal(content) if isinstance(content, dict) else b"[]"


def rewritten(data: bytes, rng: random.Random) -> bytes:
    return json.dumps(changed(json.loads(data), rng)).encode()


@pytest.mark.parametrize(
    ("name", "damage", "count", "told"),
    [
        ("run.json", spoilt, 20, True),
        ("run.json", rewritten, 10, True),
        ("run.json", resealed, 20, False),
        (RECORD, spoilt, 15, True),
        (RECORD, rewritten, 10, True),
        (RECORD, resealed, 20, False),
        (ARRAY, spoilt, 10, True),
        (ARRAY, rewritten, 15, True),
        ("volume.zarr/zarr.json", spoilt, 5, True),
        ("state.json", spoilt, 10, False),
        ("state.json", rewritten, 10, False),
        ("driver.json", spoilt, 10, False),
        ("driver.json", rewritten, 10, False),
        ("metrics.parquet", lambda _, rng: rng.randbytes(9), 2, False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_damaged_file_of_a_run_is_a_line(
    capsys: pytest.CaptureFixture[str],
    made: Made,
    name: str,
    damage: Callable[[bytes, random.Random], bytes],
    count: int,
    told: bool,
) -> None:
    """And never taken for whole where it decides what a reader sees."""
    rng, path = random.Random(f"{name} {count}"), made.root / name
    for i in range(count):
        made.restore()
        data = damage(made.files[path], rng)
        path.write_bytes(data)
        command = READERS[i % len(READERS)]
        words = (command, made.spec if command == "run" else made.root)
        try:
            status, _, err = run_ddgm(capsys, *words)
            with suppress(DdgmError):
                load_run_data(RunStore(str(made.root)))
        except Exception as error:
            raise AssertionError(f"{command}, {name}: {data[:2000]!r}") from error
        assert not status or (err.startswith("error: ") and err.count("\n") == 1), (err, data)
        assert len(err) < 2000
        if told and command == "verify" and not same(data, made.files[path]):
            assert status in MENDABLE, data
    made.restore()


def same(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except (ValueError, RecursionError):
        return False


def test_a_damaged_card_of_a_prior_is_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, volume: str, tiny_prior: Path
) -> None:
    rng, weights = random.Random(2), tmp_path / "prior.safetensors"
    with safe_open(tiny_prior, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (key,) = metadata
    spec = write_spec(tmp_path, spec_data(volume, tmp_path / "run", weights))
    failed = 0
    for i in range(25):
        save_file(tensors, weights, {key: json.dumps(changed(json.loads(metadata[key]), rng))})
        if i % 5 == 0:
            weights.write_bytes(spoilt(weights.read_bytes(), rng))
        status, _, err = run_ddgm(capsys, "plan", spec, "--no-calibrate")
        assert not status or (err.startswith("error: ") and err.count("\n") == 1), err
        failed += status
    assert failed > 5


def test_a_damaged_scheduler_file_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "ANSWER", "50ms")
    rng, path = random.Random(3), tmp_path / "scheduler.json"
    whole = json.dumps({"type": "Scheduler", "id": "a", "address": "tcp://127.0.0.1:9"}).encode()
    for i in range(20):
        path.write_bytes((spoilt if i % 2 else rewritten)(whole, rng))
        cluster = SchedulerFile(kind="scheduler_file", path=path)
        with pytest.raises(DdgmError) as error, clusters.connect(cluster):
            pass
        assert "\n" not in str(error.value)


def test_a_damaged_info_of_a_source_is_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, volume: str, tiny_prior: Path
) -> None:
    info = Path(volume.removeprefix("precomputed://file://")) / "info"
    copy, rng, failed = tmp_path / "em/info", random.Random(4), 0
    copy.parent.mkdir()
    for i in range(25):
        copy.write_bytes((rewritten if i % 3 else spoilt)(info.read_bytes(), rng))
        data = spec_data(f"file://{copy.parent}", tmp_path / f"run-{i}", tiny_prior)
        spec = write_spec(tmp_path, data | {"prior": {**data["prior"], "batch": i + 1}})
        status, _, err = run_ddgm(capsys, "plan", spec, "--no-calibrate")
        assert not status or (err.startswith("error: ") and err.count("\n") == 1), err
        failed += status
    assert failed > 10
