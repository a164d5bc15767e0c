"""The driver's loop against failures written down as data: no process, and a clock that jumps.

`{0: "--"}` fails the first two attempts of block 0. A letter is one submission of a block:
`-` its source does not answer, `x` it cannot succeed, `p` no pool is there, `l` its worker dies
with it in its queue, `d` its worker dies at it, `h` it hangs, `!` the disk is full; then it is
done.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run.dask_cluster import AttemptEnded, DaskCluster, Message, StageMessage
from ddgm.pipeline.run.events import BlockDone, BlockFailed, BlockRetried, Event, Stopping
from ddgm.pipeline.run.placement import Placement
from ddgm.pipeline.run.retry import (
    MAX_RESUBMITS,
    Abort,
    BlockState,
    Failure,
    GiveUp,
    Resubmit,
    Retry,
    StageTimeoutError,
    WorkerLost,
    decide,
)
from ddgm.pipeline.run.scheduler import BlockScheduler
from ddgm.pipeline.run.standstill import RunError
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.files import FolderError
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import SourceError, VolumeInfo
from ddgm.workers.local_cluster import START_SECONDS
from ddgm.workers.members import WorkerInfo, Workers
from ddgm.workers.pooled_denoiser import PoolError
from tests.pipeline.runs import small_spec

BLOCKS, ATTEMPTS, HOUR = 4, 3, 3600.0
WORKERS = ("a", "b")
ERRORS: dict[str, Exception] = {
    "-": SourceError("no answer", "unreachable"),
    "x": SourceError("gone", "missing"),
    "p": PoolError("pool: no worker with the resource GPU"),
    "!": OSError(errno.ENOSPC, "No space left on device"),
}


class Released:
    """A future that nobody waits for."""

    def release(self) -> None:
        """Nothing is kept."""


class ScriptedCluster(DaskCluster):
    """What the driver asks of Dask, answered from a script; time passes while nothing happens."""

    def __init__(self, script: dict[int, str]) -> None:
        self.script = {block: list(fates) for block, fates in script.items()}
        self.tries, self.begun_at = Counter[int](), dict[int, list[float]]()
        self.queue: list[Message] = []
        self.restarted: list[str] = []
        self.now, self.most, self.in_flight = 0.0, 0, 0
        self.staffed: Callable[[], bool] = lambda: True

    @property
    def connected(self) -> bool:
        """It always is."""
        return True

    def listen(self) -> None:
        """There is nobody to listen to."""

    def close(self) -> None:
        """There is nothing to close."""

    def workers(self) -> Workers:
        """Two workers of one thread, as long as there are any."""
        found = {a: WorkerInfo(a, f"cpu-{a}", 1, 0, pool=False) for a in WORKERS if self.staffed()}
        return Workers(found, frozenset(found))

    def clock(self) -> float:
        """Seconds of this cluster."""
        return self.now

    def submit(self, task: BlockTask, worker: str, placement: Placement) -> Any:
        """Let the block's next fate happen to it."""
        assert placement.network_on_block_workers
        self.tries[task.block] += 1
        self.begun_at.setdefault(task.block, []).append(self.now)
        fates = self.script.get(task.block)
        fate = fates.pop(0) if fates else ""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        if fate != "l":
            self.queue.append(StageMessage(task.name, "reconstruct", worker))
        if fate in ERRORS:
            self.queue.append(AttemptEnded(task.name, error=ERRORS[fate]))
        elif fate in ("l", "d"):
            self.queue.append(AttemptEnded(task.name, dead_worker=worker))
        elif not fate:
            record = Record(task.block, "digest", "done", task.attempt, worker=worker)
            self.queue.append(AttemptEnded(task.name, record))
        return Released()

    def cancel(self, futures: Sequence[Any]) -> None:
        """Nothing runs."""
        self.in_flight -= len(futures)

    def restart(self, addresses: Collection[str]) -> None:
        """Remember who was restarted."""
        self.restarted += addresses

    def messages(self, seconds: float) -> Iterator[Message]:
        """All that has happened; if nothing has, a while passes."""
        if not self.queue:
            self.now += seconds
        while self.queue:
            message = self.queue.pop(0)
            self.in_flight -= isinstance(message, AttemptEnded)
            yield message


@pytest.fixture
def context(tmp_path: Path, tiny_prior: Path) -> RunContext:
    info = VolumeInfo(Box((0, 0, 0), (32, 140, 16)), (16.0,) * 3, "uint8", (32, 32, 16), 1, 0)  # type: ignore[arg-type]
    limits = {"attempts": ATTEMPTS, "block_seconds": HOUR}
    plan = make_plan(small_spec("a", tmp_path / "run", tiny_prior, limits=limits), info)
    assert plan.block_count == BLOCKS
    return RunContext.of(plan, str(tmp_path / "run"), "digest", "code", "ddgm-scripted")


def drained(
    cluster: ScriptedCluster, context: RunContext, stop_at: type[Event] | None = None
) -> list[Event]:
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if stop_at is not None and isinstance(event, stop_at):
            scheduler.stop()

    scheduler = BlockScheduler(cluster, context, RunStore(context.root), emit, cluster.clock)
    scheduler.drain(iter(range(BLOCKS)))
    assert not scheduler.in_flight
    return events


@pytest.mark.parametrize(
    ("script", "tries", "failed"),
    [
        ({}, {}, {}),
        ({0: "--"}, {0: 3}, {}),
        ({0: "---", 2: "-"}, {0: 3, 2: 2}, {0: "source: no answer"}),
        ({1: "x"}, {}, {1: "gone"}),
        ({1: "p" * 20}, {1: 21}, {}),
        ({1: "p" * 21}, {1: 21}, {1: f"its workers were lost {MAX_RESUBMITS} times"}),
        ({3: "llll"}, {3: 5}, {}),
        ({3: "dl"}, {3: 3}, {}),
        ({3: "dld"}, {3: 3}, {3: "2 workers died at it, the last at stage reconstruct"}),
        ({0: "d-p-"}, {0: 5}, {}),
        (dict.fromkeys(range(BLOCKS), "-l"), dict.fromkeys(range(BLOCKS), 3), {}),
    ],
    ids=str,
)
def test_every_block_ends_after_as_many_submissions_as_its_failures_allow(
    context: RunContext, script: dict[int, str], tries: dict[int, int], failed: dict[int, str]
) -> None:
    cluster = ScriptedCluster(script)
    events = drained(cluster, context)
    assert cluster.tries == dict.fromkeys(range(BLOCKS), 1) | tries
    causes = {e.record.block: e.record.cause for e in events if isinstance(e, BlockFailed)}
    assert causes.keys() == failed.keys()
    assert all(cause.removeprefix("source: ") in causes[b] for b, cause in failed.items())
    done = [e.record.block for e in events if isinstance(e, BlockDone)]
    assert sorted(done) == [b for b in range(BLOCKS) if b not in failed]
    assert cluster.most <= 2 * len(WORKERS)


def test_an_attempt_waits_four_times_as_long_as_the_one_before(context: RunContext) -> None:
    cluster = ScriptedCluster({0: "--"})
    events = drained(cluster, context)
    first, second, third = cluster.begun_at[0]
    assert 2.0 <= second - first < 4.0
    assert 8.0 <= third - second < 10.0
    retried = [(e.block, e.attempt) for e in events if isinstance(e, BlockRetried)]
    assert retried == [(0, 1), (0, 2)]


def test_a_worker_that_hangs_for_an_hour_is_restarted(context: RunContext) -> None:
    cluster = ScriptedCluster({2: "h"})
    events = drained(cluster, context)
    assert len(cluster.restarted) == 1
    assert cluster.restarted[0] in WORKERS
    assert cluster.begun_at[2][1] >= HOUR
    (retried,) = [e for e in events if isinstance(e, BlockRetried)]
    assert f"was at reconstruct for {HOUR:g} s; it was restarted" in retried.cause
    assert {e.record.block for e in events if isinstance(e, BlockDone)} == set(range(BLOCKS))


def test_a_local_run_that_nobody_is_left_for_ends(context: RunContext) -> None:
    """Elsewhere workers may still come, and the run waits."""
    cluster = ScriptedCluster({1: "h"})
    cluster.staffed = lambda: cluster.tries.total() < 2
    with pytest.raises(RunError, match=r"cluster: no worker has been left for 18\d s; look at"):
        drained(cluster, context)
    assert START_SECONDS < cluster.now < START_SECONDS + 10


def test_a_disk_that_is_full_ends_the_run(context: RunContext) -> None:
    with pytest.raises(RunError, match=r"output.path: .* No space left .*; make room"):
        drained(ScriptedCluster({1: "!"}), context)


def test_after_a_stop_nothing_is_tried_again(context: RunContext) -> None:
    cluster = ScriptedCluster({0: "-"})
    events = drained(cluster, context, stop_at=BlockRetried)
    assert cluster.tries[0] == 1
    assert [e for e in events if isinstance(e, Stopping)] == [Stopping()]


def test_a_lock_that_is_lost_ends_the_run(context: RunContext) -> None:
    def lost() -> None:
        raise RunError("another `ddgm run` has taken this run over")

    cluster = ScriptedCluster({})
    store = RunStore(context.root)
    scheduler = BlockScheduler(cluster, context, store, lambda event: None, cluster.clock)
    with pytest.raises(RunError, match="taken this run over"):
        scheduler.drain(iter(range(BLOCKS)), lost)
    assert not cluster.tries


# the policy alone: what is known of a block, what happened, what follows

FIRST = BlockState(7)
UNREACHABLE = SourceError("no answer", "unreachable")
MISSING = SourceError("gone", "missing")
LATE = StageTimeoutError("an hour")
POOLLESS = PoolError("pool: no worker")
UNLUCKY = BlockState(7, attempt=2, deaths=1, resubmits=3)


@pytest.mark.parametrize(
    ("state", "failure", "expected"),
    [
        (FIRST, UNREACHABLE, Retry(BlockState(7, attempt=2), 2.0)),
        (BlockState(7, attempt=2), LATE, Retry(BlockState(7, attempt=3), 8.0)),
        (UNLUCKY, MemoryError(), Retry(BlockState(7, 3, 1, 3), 8.0)),
        (BlockState(7, attempt=3), UNREACHABLE, GiveUp(UNREACHABLE)),
        (FIRST, MISSING, GiveUp(MISSING)),
        (FIRST, POOLLESS, Resubmit(BlockState(7, resubmits=1))),
        (BlockState(7, attempt=3), POOLLESS, Resubmit(BlockState(7, attempt=3, resubmits=1))),
        (FIRST, WorkerLost(), Resubmit(BlockState(7, resubmits=1))),
        (FIRST, WorkerLost("fetch"), Resubmit(BlockState(7, deaths=1, resubmits=1))),
        (UNLUCKY, WorkerLost(), Resubmit(BlockState(7, 2, 1, 4))),
    ],
    ids=str,
)
def test_what_becomes_of_a_block(
    state: BlockState, failure: Failure, expected: Retry | Resubmit | GiveUp
) -> None:
    assert decide(state, failure, attempts=3) == expected


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "no space"), FolderError("read-only")])
def test_an_output_that_cannot_be_written_ends_the_run(failure: Exception) -> None:
    assert decide(FIRST, failure, attempts=3) == Abort(failure)


def test_a_block_at_which_two_workers_died_is_given_up_with_the_stage() -> None:
    decision = decide(UNLUCKY, WorkerLost("finish"), attempts=3)
    assert isinstance(decision, GiveUp)
    assert str(decision.cause).startswith("2 workers died at it, the last at stage finish; ")


@pytest.mark.parametrize("failure", [POOLLESS, WorkerLost()])
def test_a_block_that_is_begun_anew_too_often_is_given_up(failure: Failure) -> None:
    state, count = FIRST, 0
    while isinstance(decision := decide(state, failure, attempts=3), Resubmit):
        state, count = decision.state, count + 1
    assert isinstance(decision, GiveUp)
    assert str(decision.cause) == "its workers were lost 20 times; look at their logs"
    assert (count, state.attempt) == (MAX_RESUBMITS, 1)
