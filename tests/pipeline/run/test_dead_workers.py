"""Workers that die or hang at a block: the same bytes as from an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from distributed import Client

from ddgm.pipeline.block.context import running_stage
from ddgm.pipeline.block.stages import StageOutput, fetch_stage
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run import retry, runner
from ddgm.pipeline.run.dask_cluster import DaskCluster
from ddgm.pipeline.run.events import BlockDone, BlockRetried, ClusterStatus, Event
from ddgm.pipeline.run.placement import Placement, submit_stages
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.run.scheduler import BlockScheduler
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.volume import Cutout
from tests.pipeline.runs import layers, small_spec
from tests.processes import dask, wait_for
from tests.workers.shared import Shared

if TYPE_CHECKING:
    from distributed import Future

from tests.pipeline.run.disturbed import BLOCKS, METHOD, Events, at_stage, spec_for

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize("placement", ["whole", "calls"])
def test_workers_that_are_killed_at_work_change_no_byte(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    placement: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of the pool and one that holds blocks, in the middle of a block."""
    monkeypatch.setattr(retry, "MAX_WORKER_DEATHS", 3)  # both may have been at the same block
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume, pool={"placement": placement})
    pids = shared.pids()
    pool = Events(at_stage("reconstruct"), lambda: os.kill(pids["pool-0"], signal.SIGKILL))
    home = Events(
        lambda e: isinstance(e, BlockDone), lambda: os.kill(pids["cpu-0"], signal.SIGKILL)
    )

    def emit(event: Event) -> None:
        pool(event)
        home(event)

    result = run(spec, emit)
    assert pool.acted
    assert home.acted
    assert (result.done, result.failed) == (BLOCKS, [])
    assert layers(tmp_path / "run") == reference
    statuses = [e for e in pool if isinstance(e, ClusterStatus)]
    assert {s.placement.name for s in statuses} == {placement}
    if placement == "calls":
        assert max(s.network.get("busy", 0) for s in statuses) > 0


@pytest.mark.process
def test_workers_that_leave_at_a_signal_or_retire_hand_their_blocks_back(
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a spot machine, and at the end of a walltime. A death would give the block up here."""
    monkeypatch.setattr(retry, "MAX_WORKER_DEATHS", 1)
    file = tmp_path / "scheduler.json"
    where = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
    workers: dict[str, subprocess.Popen[bytes]] = {}
    scheduler = dask("scheduler", *where, "--port", "0")

    def join(name: str) -> None:
        workers[name] = dask("worker", *where, "--nthreads", "1", "--name", name)

    def retire() -> None:
        join("c")
        with Client(scheduler_file=str(file)) as client:
            client.retire_workers(names=["b"])

    signalled = Events(at_stage("reconstruct", "a"), lambda: workers["a"].terminate())
    retired = Events(lambda e: signalled.acted and at_stage("reconstruct", "b")(e), retire)

    def emit(event: Event) -> None:
        signalled(event)
        retired(event)

    try:
        wait_for(file.exists)
        join("a")
        join("b")
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(2, timeout=120)
        cluster = {"kind": "scheduler_file", "path": file}
        spec = small_spec(
            f"precomputed://file://{volume}", tmp_path / "run", tiny_prior, method=METHOD
        )
        result = run(Spec.model_validate(spec.model_dump() | {"cluster": cluster}), emit)
    finally:
        for process in (*workers.values(), scheduler):
            process.kill()
            process.wait()
    assert signalled.acted
    assert retired.acted
    assert (result.done, result.failed) == (BLOCKS, [])
    assert not [e for e in signalled if isinstance(e, BlockRetried)]
    assert {record.attempts for record in RunStore(str(tmp_path / "run")).ledger.records()} == {1}
    assert layers(tmp_path / "run") == reference


def test_a_worker_that_hangs_is_restarted_and_its_block_tried_again(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume, limits={"block_seconds": 3600})
    pid = shared.pids()["pool-0"]
    address = shared.whole().pool[0].address
    events = Events(at_stage("reconstruct"), lambda: os.kill(pid, signal.SIGSTOP))
    skipped = 0.0

    def emit(event: Event) -> None:
        """An hour passes once nobody but the worker that was stopped is at a stage."""
        nonlocal skipped
        events(event)
        if events.acted and isinstance(event, ClusterStatus) and not skipped:
            skipped = 3600.0 if {a.worker for a in event.active} == {"pool-0"} else 0.0

    clock = partial(BlockScheduler, clock=lambda: time.monotonic() + skipped)
    monkeypatch.setattr(runner, "BlockScheduler", clock)
    result = run(spec, emit)
    assert (result.done, result.failed) == (BLOCKS, [])
    retried = [e.cause for e in events if isinstance(e, BlockRetried)]
    late = f"limits.block_seconds: {address} was at reconstruct for 3600 s; it was restarted"
    assert retried == [late] * len(retried)
    assert retried
    assert shared.pids()["pool-0"] != pid
    assert layers(tmp_path / "run") == reference


def deadly_stage(context: RunContext, task: BlockTask, cutout: StageOutput[Cutout]) -> Record:
    """What running out of memory looks like from outside."""
    with running_stage(context, task, "reconstruct"):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def submit_deadly(
    client: Client, context: RunContext, task: BlockTask, pinned_worker: str, placement: Placement
) -> Future:
    """Block 3 kills whoever works at it."""
    if task.block != 3:
        return submit_stages(client, context, task, pinned_worker, placement)
    cutout = client.submit(
        fetch_stage, context, task, key=f"fetch-{task.name}", workers=[pinned_worker], priority=-3
    )
    return client.submit(
        deadly_stage,
        context,
        task,
        cutout,
        key=f"solve-{task.name}",
        workers=[pinned_worker],
        priority=-3,
    )


def test_a_block_that_kills_its_worker_twice_is_given_up_and_the_others_are_done(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume)
    before = set(shared.pids().values())
    monkeypatch.setattr(runner, "DaskCluster", partial(DaskCluster, submit=submit_deadly))
    result = run(spec, lambda event: None)
    assert (result.done, result.failures) == (BLOCKS - 1, 1)
    (record,) = result.failed
    assert record.block == 3
    assert "2 workers died at it, the last at stage reconstruct" in record.cause
    assert record.worker.startswith("cpu-")
    assert len(before - set(shared.pids().values())) in (1, 2)  # the same name may die twice
    assert RunStore(spec.output.path).ledger.record(3) == record
