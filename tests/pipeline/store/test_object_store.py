"""A run whose output is in an S3-compatible store: the same bytes, whatever the store does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.arrays import StoreError
from ddgm.pipeline.store.files import Folder, FolderError, UnreachableError
from ddgm.pipeline.store.lock import LockError, run_lock
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.object_store import BUCKET, SECRET, ObjectStore, object_store
from tests.pipeline.runs import layers, phantom_volume, run_ddgm, small_spec, spec_data
from tests.workers.shared import Shared

pytestmark = pytest.mark.server

BLOCKS = 8


@pytest.fixture(scope="module")
def store(shared: Shared) -> Iterator[ObjectStore]:
    shared.whole()
    with object_store(shared.client) as found:
        yield found


@pytest.fixture
def folder(store: ObjectStore, request: pytest.FixtureRequest) -> Iterator[Folder]:
    """Of its own, in the bucket."""
    yield Folder(f"s3://{BUCKET}/{request.node.name.partition('[')[0]}")
    store.faults.clear()


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume") / "em"
    phantom_volume(folder)
    return folder


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, volume: Path, tiny_prior: Path
) -> dict[str, bytes]:
    """What is written to a disk."""
    root = tmp_path_factory.mktemp("reference") / "run"
    for block in range(BLOCKS):
        run_alone(small_spec(f"precomputed://file://{volume}", root, tiny_prior), block)
    return layers(root)


def test_a_run_from_a_store_into_a_store_resumes_verifies_and_is_repaired(
    capsys: pytest.CaptureFixture[str],
    store: ObjectStore,
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
) -> None:
    store.upload(volume, "em")
    root = f"s3://{BUCKET}/runs/a"
    data = spec_data(f"precomputed://s3://{BUCKET}/em", root, tiny_prior)
    data["cluster"] = shared.part
    spec = tmp_path / "spec.yaml"
    spec.write_text(json.dumps(data))
    said = ""

    def ddgm(*words: object) -> tuple[int, str, str]:
        nonlocal said
        found = run_ddgm(capsys, *words)
        said += found[1] + found[2]
        return found

    store.faults["PUT /bucket/runs/a/ledger/000/000005.json"] = 403
    status, _, err = ddgm("run", spec)
    assert status == EXIT_STATUS["storage"]
    assert "give credentials that may write there" in err
    assert "finished blocks are kept" in err
    assert err.count("\n") == 1
    done = {r.block for r in RunStore(root).ledger.records()}
    assert done
    assert 5 not in done, "its data are there, and it is not done"
    outcome = json.loads(ddgm("status", root, "--json")[1])["outcome"]
    assert (outcome["kind"], outcome["status"]) == ("storage", EXIT_STATUS["storage"])
    assert outcome["message"] in err

    store.faults.clear()
    status, out, err = ddgm("run", spec)
    assert (status, err) == (0, "")
    found = re.search(r"(\d) done, (\d) before, 0 failed", out)
    assert found, out
    assert int(found[1]) + int(found[2]) == BLOCKS
    assert len(done) <= int(found[2]) < BLOCKS, "workers may have ended what they were at"
    assert "8 done, 0 failed, 0 left" in ddgm("status", root)[1]
    assert ddgm("verify", root)[0] == 0
    assert layers(store.download("runs/a", tmp_path / "read")) == reference

    shard = "runs/a/volume.zarr/truth/0/c/1/0/0"
    good = store.get(shard)
    store.put(shard, good[: len(good) // 2])
    store.client.delete_object(Bucket=BUCKET, Key="runs/a/volume.zarr/reconstruction/0/c/0/0/2")
    status, out, _ = ddgm("verify", root)
    assert status == EXIT_STATUS["damage"]
    assert "block 2: reconstruction" in out
    assert "block 4: truth" in out
    assert "2 blocks mended" in ddgm("repair", root)[1]
    assert layers(store.download("runs/a", tmp_path / "mended")) == reference
    assert ddgm("report", root)[0] == 0
    assert b"<html" in store.get("runs/a/report.html")
    names = {key.split("/")[2] for key in store.keys("runs/a/")}
    assert names == {
        "ledger",
        "metrics.parquet",
        "preview.png",
        "report.html",
        "run.json",
        "state.json",
        "outcome.json",
        "volume.zarr",
    }
    assert SECRET not in said
    assert not [k for k in store.keys("runs/") if SECRET.encode() in store.get(k)]


def test_of_many_that_create_a_file_at_once_one_does(store: ObjectStore, folder: Folder) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: folder.create("driver.json", b"%d" % i), range(8)))
    assert made.count(True) == 1
    assert folder.read("driver.json") == b"%d" % made.index(True)


def test_a_store_that_knows_no_conditions_does_without(store: ObjectStore, folder: Folder) -> None:
    store.faults["PUT"] = 501
    assert folder.create("driver.json", b"1")
    assert not folder.create("driver.json", b"2")
    assert folder.read("driver.json") == b"1"


def test_a_second_driver_is_refused_and_the_first_leaves_nothing(
    store: ObjectStore, folder: Folder
) -> None:
    with run_lock(folder), pytest.raises(LockError, match="is being written by"), run_lock(folder):
        pass
    assert folder.names("") == []


def test_what_others_write_and_remove_is_seen_at_once(store: ObjectStore, folder: Folder) -> None:
    """No listing is kept: workers, drivers and those who look are different processes."""
    prefix = folder.root.removeprefix(f"s3://{BUCKET}/")
    assert folder.names("ledger") == []
    assert (folder.read("ledger/a"), folder.size("ledger/a")) == (None, 0)
    store.put(f"{prefix}/ledger/", b"")  # as consoles make folders
    store.put(f"{prefix}/ledger/a", b"one")
    store.put(f"{prefix}/ledger/b", b"two")
    assert folder.names("ledger") == ["a", "b"]
    assert (folder.read("ledger/a"), folder.size("ledger/a")) == (b"one", 3)
    assert list(folder.read_all(["ledger/a", "ledger/none", "ledger/b"])) == [
        ("ledger/a", b"one"),
        ("ledger/b", b"two"),
    ]
    store.client.delete_object(Bucket=BUCKET, Key=f"{prefix}/ledger/a")
    assert folder.names("ledger") == ["b"]
    assert folder.size("ledger/a") == 0
    folder.delete("ledger/a")
    store.put(f"{prefix}-too", b"")
    folder.remove("ledger")
    folder.remove("ledger")
    assert store.keys(prefix) == [f"{prefix}-too"]


def test_a_file_that_was_begun_and_not_ended_is_not_there(
    store: ObjectStore, folder: Folder
) -> None:
    def half() -> None:
        with folder.writing("metrics.parquet") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert folder.names("") == []
    with folder.writing("metrics.parquet") as file:
        file.write(b"whole")
    assert folder.read("metrics.parquet") == b"whole"


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [(403, FolderError, "give credentials"), (500, UnreachableError, "check the network")],
)
def test_a_store_that_refuses_or_fails_is_said_in_one_line(
    store: ObjectStore, folder: Folder, status: int, kind: type[FolderError], message: str
) -> None:
    store.faults[f"/bucket/{folder.root.rpartition('/')[2]}/"] = status
    for action in (
        lambda: folder.write("a", b""),
        lambda: folder.create("a", b""),
        lambda: folder.read("a"),
        lambda: list(folder.read_all(["a"])),
        lambda: folder.size("a"),
        lambda: folder.delete("a"),
    ):
        with pytest.raises(FolderError, match=message) as error:
            action()
        assert type(error.value) is kind
        assert "\n" not in str(error.value)


def test_damage_is_not_confused_with_a_store_that_fails(
    store: ObjectStore, folder: Folder, tiny_prior: Path, volume: Path
) -> None:
    spec = small_spec(f"precomputed://file://{volume}", folder.root, tiny_prior)
    record = run_alone(spec, 1)
    run, plan = RunStore(folder.root), make_plan(spec)
    assert run.ledger.record(1) == record
    store.faults["truth/0/c/0/0/1"] = 500
    with pytest.raises(UnreachableError):
        run.arrays.read(plan, "truth", plan.block(1))
    with pytest.raises(StoreError, match="is missing or empty"):
        run.arrays.read(plan, "truth", plan.block(2))
    with pytest.raises(UnreachableError):
        run_alone(spec, 1)
    assert run.ledger.record(1) is None, "from the first byte that is written anew"


def test_a_bucket_that_is_not_there_is_named_before_any_block(
    capsys: pytest.CaptureFixture[str],
    store: ObjectStore,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
) -> None:
    data = spec_data(f"precomputed://file://{volume}", "s3://no-bucket/run", tiny_prior)
    (tmp_path / "spec.yaml").write_text(json.dumps(data))
    status, _, err = run_ddgm(capsys, "run", tmp_path / "spec.yaml")
    assert status == 1
    assert "output.path: s3://no-bucket/run cannot be written" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, UnreachableError, "and AWS_ENDPOINT_URL for"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, FolderError, "give credent"),
    ],
    ids=["no server", "no credentials"],
)
def test_what_is_missing_is_said_in_one_line(
    store: ObjectStore,
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str | None],
    kind: type[FolderError],
    message: str,
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    S3FileSystem.clear_instance_cache()  # they have read the environment
    with pytest.raises(FolderError, match=message) as error:
        folder.read("run.json")
    S3FileSystem.clear_instance_cache()
    assert type(error.value) is kind
    assert "\n" not in str(error.value)


@pytest.mark.process
def test_without_the_extra_the_error_names_it() -> None:
    code = "import sys; sys.modules['s3fs'] = None; from ddgm.pipeline.cli import main; main()"
    command = [sys.executable, "-c", code, "status", "s3://bucket/run"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 1
    assert "install it with `pip install 'ddgm[s3]'`" in found.stderr
    assert found.stderr.count("\n") == 1
