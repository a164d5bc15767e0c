"""What a run does when nothing moves, when a block is begun anew for ever, and when Dask helps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from distributed import get_worker

from ddgm.pipeline.block.code import code_digest
from ddgm.pipeline.block.context import running_stage
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run import scheduler as scheduler_module
from ddgm.pipeline.run import standstill
from ddgm.pipeline.run.dask_cluster import DaskCluster, Message, StageMessage
from ddgm.pipeline.run.events import BlockDone, BlockFailed, BlockRetried, Event
from ddgm.pipeline.run.placement import Placement, Submit
from ddgm.pipeline.run.retry import MAX_RESUBMITS
from ddgm.pipeline.run.scheduler import BlockScheduler
from ddgm.pipeline.run.standstill import RunError
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from ddgm.workers.members import RESOURCE, current_workers
from ddgm.workers.pooled_denoiser import PoolError
from tests.pipeline.runs import small_spec
from tests.processes import wait_for
from tests.workers.shared import Shared

if TYPE_CHECKING:
    from distributed import Client, Future

BLOCKS = 4
STRANGE = 2  # the block that something is wrong with
ENDLESS = 500  # seconds: under heavy load a worker takes a minute to start, and here two die


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.1)


def context_of(prior: Path, root: Path, **limits: Any) -> RunContext:
    """Four blocks of a volume that nobody reads."""
    info = VolumeInfo(Box((0, 0, 0), (32, 140, 16)), (16.0,) * 3, "uint8", (32, 32, 16), 1, 0)  # type: ignore[arg-type]
    plan = make_plan(small_spec("a", root, prior, limits=limits), info)
    assert plan.block_count == BLOCKS
    return RunContext.of(plan, str(root), "digest", code_digest(), f"ddgm-{root.name}")


def heard(root: str, name: str, worker: str) -> Path:
    """The file that says that the driver knows of a worker that is at an attempt."""
    return Path(root) / f"heard-{name}-{worker.rpartition(':')[2]}"


class Listening(DaskCluster):
    """Leaves that file once the driver has acted on what it heard."""

    def messages(self, seconds: float) -> Iterator[Message]:
        for message in super().messages(seconds):
            yield message
            if isinstance(message, StageMessage) and message.stage:
                heard(self.context.root, message.name, message.worker).touch()


def drained(shared: Shared, context: RunContext, submit: Submit) -> list[Event]:
    """The events of all blocks; a run without an end is a failure."""
    shared.whole()
    return events_of(shared.client, context, submit)


def events_of(client: Client, context: RunContext, submit: Submit) -> list[Event]:
    events: list[Event] = []
    deadline = time.monotonic() + ENDLESS

    def emit(event: Event) -> None:
        assert time.monotonic() < deadline
        events.append(event)

    cluster = Listening(client, context, submit)
    scheduler = BlockScheduler(cluster, context, RunStore(context.root), emit)
    scheduler.drain(iter(range(BLOCKS)))
    return events


def done(context: RunContext, task: BlockTask) -> Record:
    """A block's work, of which there is none."""
    with running_stage(context, task, "reconstruct"):
        return Record(task.block, context.digest, "done", finished="2026-01-01T00:00:00+00:00")


Work = tuple[Callable[[RunContext, BlockTask], Record], str]  # and the resource that it needs


def on_the_pool(work_of: Callable[[BlockTask], Work]) -> Submit:
    """Submits one task for a block, whichever worker the block is pinned to."""

    def submit(
        client: Client,
        context: RunContext,
        task: BlockTask,
        pinned_worker: str,
        placement: Placement,
    ) -> Future:
        work, resource = work_of(task)
        where: dict[str, Any] = {"resources": {resource: 1}}
        return client.submit(work, context, task, key=f"solve-{task.name}", pure=False, **where)

    return submit


def test_a_run_in_which_nothing_moves_ends_and_says_so(
    shared: Shared, tmp_path: Path, tiny_prior: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks that no worker may take on, as with resources that were spelt otherwise."""
    monkeypatch.setattr(standstill, "RESTART_SECONDS", 0.1)

    submit = on_the_pool(lambda task: (done, "gpu"))
    context = context_of(tiny_prior, tmp_path / "still", block_seconds=0.5)
    said = (
        r"^limits\.block_seconds: no worker has begun or ended anything for \d+ s; blocks "
        r"0, 1, 2(, 3)? were in flight; look at the workers, and run the same spec again"
    )
    with pytest.raises(RunError, match=said):
        drained(shared, context, submit)
    assert list(RunStore(context.root).ledger.records()) == []


def poolless(context: RunContext, task: BlockTask) -> Record:
    """A block that never finds a pool worker."""
    raise PoolError("pool: no worker with the resource GPU")


def test_a_block_that_is_begun_anew_too_often_is_given_up_without_an_attempt_counted(
    shared: Shared, tmp_path: Path, tiny_prior: Path
) -> None:
    """Through no fault of its own, again and again; the others are done."""
    tries = Counter[int]()

    def work(task: BlockTask) -> Work:
        tries[task.block] += 1
        assert (task.attempt, tries[task.block] <= 1 + MAX_RESUBMITS) == (1, True)
        return poolless if task.block == STRANGE else done, RESOURCE

    context = context_of(tiny_prior, tmp_path / "anew", attempts=2)
    events = drained(shared, context, on_the_pool(work))
    assert tries == {0: 1, 1: 1, STRANGE: 1 + MAX_RESUBMITS, 3: 1}
    assert {e.record.block for e in events if isinstance(e, BlockDone)} == {0, 1, 3}
    assert not [e for e in events if isinstance(e, BlockRetried)]
    (failed,) = [e.record for e in events if isinstance(e, BlockFailed)]
    assert (failed.block, failed.attempts) == (STRANGE, 1)
    assert failed.cause == f"its workers were lost {MAX_RESUBMITS} times; look at their logs"
    assert RunStore(context.root).ledger.record(STRANGE) == failed


def worker_killer(context: RunContext, task: BlockTask) -> Record:
    """A block that kills whoever works at it, once the driver knows who does."""
    heard(context.root, task.name, get_worker().address).unlink(missing_ok=True)  # of one before
    with running_stage(context, task, "reconstruct"):
        wait_for(heard(context.root, task.name, get_worker().address).exists)
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")


@contextmanager
def failures_allowed(client: Client) -> Iterator[None]:
    def allow(dask_scheduler: Any, count: int) -> int:
        before, dask_scheduler.allowed_failures = dask_scheduler.allowed_failures, count
        return before

    before: Any = client.run_on_scheduler(allow, count=10)
    assert before == 0
    try:
        yield
    finally:
        client.run_on_scheduler(allow, count=before)


def test_workers_that_die_are_counted_where_dask_begins_a_block_anew_by_itself(
    shared: Shared, tmp_path: Path, tiny_prior: Path
) -> None:
    """As under somebody else's scheduler, which allows failures: it never says that one died."""

    submit = on_the_pool(lambda t: (worker_killer if t.block == STRANGE else done, RESOURCE))
    context = context_of(tiny_prior, tmp_path / "deadly")
    with failures_allowed(shared.client):
        events = drained(shared, context, submit)
    (failed,) = [e.record for e in events if isinstance(e, BlockFailed)]
    assert failed.block == STRANGE
    assert "2 workers died at it, the last at stage reconstruct" in failed.cause
    files = Path(context.root).glob(heard("", f"{STRANGE:06d}*", ":*").name)
    beginnings = Counter(file.name.rpartition("-")[0] for file in files)  # of each attempt
    assert list(beginnings.values()) == [3]  # one attempt; the third tells of the second's death
    assert {e.record.block for e in events if isinstance(e, BlockDone)} == {0, 1, 3}


@contextmanager
def at_a_fixed_port(client: Client, resource: str) -> Iterator[None]:
    """A worker whose nanny starts it anew at the port that it had."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    address = str(client.scheduler.address)  # type: ignore[union-attr]
    where = [address, "--host", "127.0.0.1", "--worker-port", str(port), "--no-dashboard"]
    what = ["--nthreads", "1", "--resources", f"{RESOURCE}=1 {resource}=1"]
    command = [sys.executable, "-m", "distributed.cli.dask_worker", *where, *what]
    root = Path(__file__).parents[3]  # tasks are functions of this file
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    # what it says is shown if the test fails
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
    try:
        wait_for(lambda: f"tcp://127.0.0.1:{port}" in current_workers(client).running, process)
        yield
    finally:
        process.terminate()
        process.wait()


def test_a_worker_that_is_started_anew_at_its_address_has_died(
    shared: Shared, tmp_path: Path, tiny_prior: Path
) -> None:
    """As where a site gives its workers fixed ports."""

    strange: Work = worker_killer, "FIXED"
    submit = on_the_pool(lambda task: strange if task.block == STRANGE else (done, RESOURCE))
    context = context_of(tiny_prior, tmp_path / "same")
    shared.whole()
    with failures_allowed(shared.client), at_a_fixed_port(shared.client, "FIXED"):
        events = events_of(shared.client, context, submit)
    (failed,) = [e.record for e in events if isinstance(e, BlockFailed)]
    assert failed.block == STRANGE
    assert "2 workers died at it, the last at stage reconstruct" in failed.cause
    assert len(list(Path(context.root).glob(f"heard-{STRANGE:06d}*"))) == 1  # attempt, address
    assert {e.record.block for e in events if isinstance(e, BlockDone)} == {0, 1, 3}
