"""Whole runs on real Dask processes: the same bytes however they are cut, killed or resumed."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from ddgm.pipeline.block.context import CodeError
from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run.events import BlockDone, Event, RunStarted
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.run.progress.outcome import read_outcome
from ddgm.pipeline.run.retry import is_retryable
from ddgm.pipeline.run.runner import run, run_alone
from ddgm.pipeline.run.standstill import RunError
from ddgm.pipeline.run.verify import repair_run
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.runs import OFFSET, layer, layers, phantom_volume, small_spec
from tests.pipeline.sample_volumes import chunk_file, serve
from tests.processes import dask, ddgm, wait_for
from tests.workers.shared import Shared


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, volume: str, tiny_prior: Path
) -> tuple[Spec, dict[str, bytes], list[Event]]:
    """An undisturbed run: eight blocks of four slices, one worker."""
    spec = small_spec(volume, tmp_path_factory.mktemp("reference") / "run", tiny_prior)
    events: list[Event] = []
    result = run(spec, events.append)
    assert (result.done, result.failed) == (8, [])
    return spec, layers(Path(spec.output.path)), events


@pytest.mark.cluster
def test_a_run_writes_truth_scores_and_a_record_for_every_block(
    reference: tuple[Spec, dict[str, bytes], list[Event]], volume: str
) -> None:
    spec, _, events = reference
    root = Path(spec.output.path)
    source = open_volume(volume, 0)
    truth = source.read(source.info.bounds).data
    np.testing.assert_array_equal(layer(root, "truth"), truth)
    table = pq.read_table(root / "metrics.parquet").to_pydict()
    assert len(table["mse"]) == 32
    assert sorted(set(table["slice"])) == list(range(OFFSET[2], OFFSET[2] + 16))
    assert all(0 < v < 10 for v in table["mse"] + table["algebraic_mse"])
    assert sum(isinstance(e, BlockDone) for e in events) == 8
    assert isinstance(events[0], RunStarted)
    assert events[0].dashboard == "", "a local cluster has none"
    assert {r.block for r in RunStore(str(root)).ledger.records()} == set(range(8))


@pytest.mark.cluster
def test_block_size_and_worker_count_change_no_byte(
    reference: tuple[Spec, dict[str, bytes], list[Event]], tmp_path: Path
) -> None:
    spec, expected, _ = reference
    other = small_spec(
        spec.source.place,
        tmp_path / "run",
        Path(spec.prior.weights),
        block={"slices": 12},
        cluster={"workers": 2},
    )
    run(other, lambda event: None)
    assert RunStore(str(tmp_path / "run")).arrays.array("truth").shards == (32, 140, 12)
    assert layers(tmp_path / "run") == expected


@pytest.mark.cluster
def test_a_run_killed_in_the_middle_goes_on_to_the_same_bytes(
    reference: tuple[Spec, dict[str, bytes], list[Event]], tmp_path: Path
) -> None:
    base, expected, _ = reference
    spec = small_spec(base.source.place, tmp_path / "run", Path(base.prior.weights))
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(spec))
    store = RunStore(spec.output.path)
    log = tmp_path / "log"
    # a session of its own: workers are killed too
    client = ddgm(log, "run", path, start_new_session=True)
    try:
        wait_for(lambda: len(list(store.ledger.records())) >= 2, client, log)
    finally:
        os.killpg(client.pid, signal.SIGKILL)
        client.wait()
    before = {r.block: r.finished for r in store.ledger.records()}
    assert 2 <= len(before) < 8
    result = run(spec, lambda event: None)
    assert (result.resumed, result.done) == (len(before), 8 - len(before))
    after = {r.block: r.finished for r in store.ledger.records()}
    assert {block: after[block] for block in before} == before
    assert layers(tmp_path / "run") == expected
    again = run(spec, lambda event: None)
    assert (again.blocks, again.done, again.resumed, again.failures) == (8, 0, 8, 0)


def test_a_missing_chunk_fails_its_blocks_alone_and_is_mended_by_running_again(
    tmp_path: Path,
    tiny_prior: Path,
    reference: tuple[Spec, dict[str, bytes], list[Event]],
    shared: Shared,
) -> None:
    url = phantom_volume(tmp_path / "em", chunk=(32, 140, 8))
    chunk = chunk_file(tmp_path / "em", (42, 20, 15))
    kept = chunk.read_bytes()
    chunk.unlink()
    spec = small_spec(url, tmp_path / "run", tiny_prior)
    spec = Spec.model_validate(spec.model_dump() | {"cluster": shared.part})
    events: list[Event] = []
    result = run(spec, events.append)
    assert result.done == 6
    assert [r.block for r in sorted(result.failed, key=lambda r: r.block)] == [6, 7]
    assert all(r.attempts == 1 and "missing" in r.cause for r in result.failed)
    with pytest.raises(SourceError, match="missing"):
        run_alone(spec, 6)
    chunk.write_bytes(kept)
    again = run(spec, events.append)
    assert (again.resumed, again.done, again.failed) == (6, 2, [])
    assert layers(tmp_path / "run") == reference[1]


def test_missing_chunks_are_filled_where_the_spec_says_so(tmp_path: Path, tiny_prior: Path) -> None:
    url = phantom_volume(tmp_path / "em", chunk=(32, 140, 8))
    chunk_file(tmp_path / "em", (10, 20, 7)).unlink()
    spec = small_spec(url, tmp_path / "run", tiny_prior, source={"missing": 99})
    record = run_alone(spec, 0)
    assert record.missing_voxels == 32 * 140 * 4
    assert (layer(tmp_path / "run", "truth")[:32, :, :4] == 99).all()


@pytest.mark.server
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_volume_behind_plain_http_gives_the_bytes_of_the_file(
    tmp_path: Path, tiny_prior: Path, encoding: str
) -> None:
    local = phantom_volume(tmp_path / "em", encoding=encoding)
    with serve(tmp_path / "em") as server:
        runs = {"file": local, "http": server.url}
        for name, url in runs.items():
            run_alone(small_spec(url, tmp_path / name, tiny_prior), 3)
    assert layers(tmp_path / "file") == layers(tmp_path / "http")
    assert layer(tmp_path / "http", "truth")[:32, :, 12:].any()


@pytest.mark.parametrize("axes", [("z", "x", "y"), ("x", "y", "z")])
def test_any_axis_may_be_the_tilt_axis(
    tmp_path: Path, tiny_prior: Path, volume: str, axes: tuple[str, str, str]
) -> None:
    slab = dict(zip(("thickness_axis", "tilt_axis", "width_axis"), axes, strict=True))
    spec = small_spec(
        volume, tmp_path / "run", tiny_prior, slab={**slab, "thickness": 16}, block={"slices": 8}
    )
    record = run_alone(spec, 0)
    source = open_volume(volume, 0)
    truth = source.read(source.info.bounds).data
    index = [slice(None)] * 3
    index["zyx".index(axes[0])] = slice(0, 16)
    index["zyx".index(axes[1])] = slice(0, 8)
    written = layer(tmp_path / "run", "truth")
    np.testing.assert_array_equal(written[tuple(index)], truth[tuple(index)])
    assert len(record.metrics) == 8


def test_a_worker_with_other_code_refuses(tmp_path: Path, tiny_prior: Path, volume: str) -> None:
    context = prepare(small_spec(volume, tmp_path / "run", tiny_prior))
    with pytest.raises(CodeError, match="another version of ddgm"):
        run_block(replace(context, code="older"), 0)


def test_a_relative_output_is_the_same_place_for_every_worker(
    tmp_path: Path, tiny_prior: Path, volume: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepare(small_spec(volume, "here/run", tiny_prior)).root == str(tmp_path / "here/run")


def test_a_relative_source_and_prior_are_the_same_files_for_every_worker(
    tmp_path: Path,
    tiny_prior: Path,
    reference: tuple[Spec, dict[str, bytes], list[Event]],
    shared: Shared,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers that were started elsewhere, in the pool and outside; and a repair from elsewhere."""
    base, expected, _ = reference
    (tmp_path / "weights").mkdir()
    shutil.copy(tiny_prior, tmp_path / "weights/x.safetensors")
    monkeypatch.chdir(tmp_path)
    data = base.model_dump() | {"cluster": shared.part, "pool": {"placement": "calls"}}
    data["prior"]["weights"] = "weights/x.safetensors"
    (tmp_path / "em").symlink_to(base.source.place.removeprefix("precomputed://file://"))
    data["source"]["url"] = "file://em"
    data["output"]["path"] = str(tmp_path / "run")
    result = run(Spec.model_validate(data), lambda event: None)
    assert (result.done, result.failed) == (8, [])
    assert layers(tmp_path / "run") == expected
    monkeypatch.chdir("/")
    (tmp_path / "run/volume.zarr/truth/0/c/0/0/0").unlink()
    assert repair_run(str(tmp_path / "run"), Console(quiet=True), lambda event: None).done == 1
    assert layers(tmp_path / "run") == expected


def test_a_scheduler_that_is_killed_is_said_in_one_line_and_costs_nothing(
    tmp_path: Path,
    tiny_prior: Path,
    reference: tuple[Spec, dict[str, bytes], list[Event]],
    shared: Shared,
) -> None:
    base, expected, _ = reference
    file = tmp_path / "scheduler.json"
    where = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
    scheduler = dask("scheduler", *where, "--port", "0")
    worker = dask("worker", *where, "--nthreads", "1", "--no-nanny")
    data = base.model_dump() | {"cluster": {"kind": "scheduler_file", "path": file}}
    spec = Spec.model_validate(data | {"output": data["output"] | {"path": str(tmp_path / "run")}})

    def end_it(event: Event) -> None:
        if isinstance(event, BlockDone):
            scheduler.kill()

    try:
        wait_for(file.exists)
        with pytest.raises(RunError, match="the scheduler is gone"):
            run(spec, end_it)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
    digest = RunStore(spec.output.path).manifest()["digest"]
    outcome = read_outcome(RunStore(spec.output.path), digest)
    assert outcome is not None
    assert (outcome.kind, outcome.status) == ("cluster", EXIT_STATUS["cluster"])
    assert "the scheduler is gone" in outcome.message
    elsewhere = Spec.model_validate(spec.model_dump() | {"cluster": shared.part})
    result = run(elsewhere, lambda event: None)
    ended = read_outcome(RunStore(spec.output.path), digest)
    assert ended is not None
    assert (ended.kind, ended.status, ended.message) == ("done", 0, "")
    assert result.resumed >= 1
    assert result.resumed + result.done == result.blocks
    assert layers(tmp_path / "run") == expected


def test_what_cannot_succeed_is_not_tried_again() -> None:
    assert is_retryable(SourceError("no answer", "unreachable"))
    assert is_retryable(MemoryError())
    assert not is_retryable(SourceError("gone", "missing"))
    assert not is_retryable(ModuleNotFoundError("ddgm"))
