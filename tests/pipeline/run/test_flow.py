"""Which worker is given how much, and what it comes to."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ddgm.core.networks.prior import settled
from ddgm.pipeline.block.code import code_digest
from ddgm.pipeline.block.context import running_stage
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run import dask_cluster
from ddgm.pipeline.run.dask_cluster import DaskCluster
from ddgm.pipeline.run.events import BlockDone, ClusterStatus, Event
from ddgm.pipeline.run.placement import (
    BLOCKS_PER_POOL_WORKER,
    BLOCKS_PER_THREAD,
    CALLS,
    LOCAL,
    WHOLE,
    Placement,
    capacities,
    placement_of,
)
from ddgm.pipeline.run.progress.forecast import Forecast
from ddgm.pipeline.run.scheduler import BlockScheduler
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables.ended import EndedBlocks
from ddgm.pipeline.store.tables.statistics import MAX_FAILURES, SAMPLE, RunStatistics
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from ddgm.workers.members import WorkerInfo, Workers
from ddgm.workers.specs import PoolSpec
from tests.pipeline.runs import small_spec
from tests.processes import wait_for
from tests.workers.shared import Shared

if TYPE_CHECKING:
    from distributed import Client, Future


@pytest.fixture
def plan(tiny_prior: Path) -> Plan:
    info = VolumeInfo(Box((0, 0, 0), (32, 140, 64)), (16.0,) * 3, "uint8", (32, 32, 16), 1, 0)  # type: ignore[arg-type]
    spec = small_spec("a", "run", tiny_prior)
    _, digest = settled(spec.prior.weights)  # as before any run: pool workers ask for it
    prior = spec.prior.model_copy(update={"sha256": digest})
    return make_plan(spec.model_copy(update={"prior": prior}), info)


def workers(block_workers: int, pool: int, memory: int = 0) -> Workers:
    running = [WorkerInfo(f"c{i}", f"cpu-{i}", 1, memory, pool=False) for i in range(block_workers)]
    running += [WorkerInfo(f"p{i}", f"pool-{i}", 1, memory, pool=True) for i in range(pool)]
    return Workers({m.address: m for m in running}, frozenset(m.address for m in running))


def test_a_pool_is_used_where_there_is_one_and_waited_for_once_it_was_seen() -> None:
    unsaid = PoolSpec()
    assert placement_of(unsaid, workers(2, 0), LOCAL) == LOCAL
    assert placement_of(unsaid, workers(2, 1), LOCAL) == WHOLE
    assert placement_of(unsaid, workers(2, 0), WHOLE) == WHOLE
    assert placement_of(PoolSpec(placement="calls"), workers(2, 0), LOCAL) == CALLS


def test_blocks_in_flight_are_bounded_by_threads_by_the_pool_and_by_memory(plan: Plan) -> None:
    assert capacities(plan, workers(3, 0), LOCAL) == {f"c{i}": BLOCKS_PER_THREAD for i in range(3)}
    assert capacities(plan, workers(3, 0), WHOLE) == {}
    assert capacities(plan, workers(3, 0), CALLS) == {}
    assert capacities(plan, workers(2, 4), WHOLE) == {
        f"c{i}": BLOCKS_PER_POOL_WORKER for i in range(2)
    }
    memory = worker_memory(plan, network=False)
    scarce = memory.total + memory.block  # room for one more block
    assert capacities(plan, workers(1, 4, scarce), WHOLE) == {"c0": 2}
    assert capacities(plan, workers(0, 2), WHOLE) == {
        f"p{i}": BLOCKS_PER_POOL_WORKER for i in range(2)
    }


def test_tasks_of_one_run_find_its_plan_made_already(plan: Plan) -> None:
    context = RunContext.of(plan, "run", "digest", "code", "topic")
    there, again = (pickle.loads(pickle.dumps((context, BlockTask(i))))[0] for i in range(2))
    assert there == context
    assert there.plan is again.plan
    assert there.plan == plan
    assert pickle.loads(pickle.dumps(replace(context, topic="another"))).topic == "another"


def nothing(context: RunContext, task: BlockTask) -> Record:
    with running_stage(context, task, "solve"):
        finished = "2026-01-01T00:00:00+00:00"
        return Record(task.block, context.digest, "done", finished=finished)


def hand_over(
    client: Client, context: RunContext, task: BlockTask, pinned_worker: str, placement: Placement
) -> Future:
    return client.submit(
        nothing, context, task, key=f"solve-{task.name}", workers=[pinned_worker], pure=False
    )


def test_every_block_is_heard_of_once_and_none_is_kept(
    shared: Shared, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the driver nor by Dask, however many there are."""
    shared.whole()
    client, events, count = shared.client, list[Event](), 200
    monkeypatch.setattr(dask_cluster, "TIDY_EVERY", 50)
    context = RunContext.of(plan, str(tmp_path), "digest", code_digest(), "ddgm-nothing")
    scheduler = BlockScheduler(
        DaskCluster(client, context, hand_over), context, RunStore(str(tmp_path)), events.append
    )
    scheduler.drain(iter(range(count)))
    done = sorted(event.record.block for event in events if isinstance(event, BlockDone))
    assert done == list(range(count))
    assert not scheduler.in_flight
    assert scheduler.in_flight.pick_worker(scheduler.slots) is not None

    def kept(dask_scheduler: Any) -> int:
        return sum(key.startswith("solve-") for key in dask_scheduler.tasks)

    def remembered(dask_scheduler: Any) -> int:
        spans = dask_scheduler.extensions["spans"].spans.values()
        return max(len(span.metadata["collections"]) for span in spans)

    submitted: Any = client.run_on_scheduler(remembered)
    assert submitted < 100

    # what is released is forgotten a little later
    wait_for(lambda: not any(str(key).startswith("solve-") for key in client.futures))
    wait_for(lambda: client.run_on_scheduler(kept) == 0)


def test_nothing_is_heard_once_a_run_has_ended(shared: Shared, plan: Plan, tmp_path: Path) -> None:
    shared.whole()
    context = RunContext.of(plan, str(tmp_path), "digest", code_digest(), "ddgm-ended")
    cluster = DaskCluster(shared.client, context, hand_over)
    scheduler = BlockScheduler(cluster, context, RunStore(str(tmp_path)), lambda event: None)
    scheduler.drain(iter(range(2)))
    list(cluster.messages(0.5))
    late = {"task": "000000-late-1", "stage": "solve", "worker": "w"}
    shared.client.log_event(context.topic, late)

    def told() -> bool:
        events: Any = shared.client.get_events(context.topic)
        return late in [event for _, event in events]

    wait_for(told)
    assert list(cluster.messages(0.5)) == []


@pytest.mark.parametrize("placement", [LOCAL, WHOLE, CALLS], ids=str)
def test_a_run_is_timed_by_a_worker_and_divided_by_how_many_there_were(
    shared: Shared, plan: Plan, placement: Placement
) -> None:
    shared.whole()
    context = RunContext.of(plan, "run", "digest", code_digest(), f"ddgm-{placement.name}")
    blocks, now = 8, 0.0
    forecast = Forecast(shared.client, context, blocks, lambda: now)
    assert forecast.seconds() is None
    forecast(ClusterStatus(placement, block_workers=1, pool=1))
    now = 10.0
    alone = wait_for(forecast.seconds)
    assert alone
    forecast(ClusterStatus(placement, block_workers=3, pool=3))
    now = 20.0
    assert forecast.seconds() == pytest.approx(alone / 2)
    forecast(ClusterStatus(placement, block_workers=100, pool=100))
    now = 100.0
    assert forecast.seconds() == pytest.approx(alone / blocks)  # one block takes what it takes


def test_a_tally_keeps_means_the_worst_and_the_latest_and_stays_small() -> None:
    tally = RunStatistics()
    count, finished, records = SAMPLE + 2000, "", list[Record]()
    for i in range(count):
        metrics = [{"slice": float(i), "residual": i / 1000}]
        finished = f"2026-01-01T{i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}+00:00"
        spent = {"fetch": 2.0}
        records.append(Record(i, "d", "done", metrics=metrics, seconds=spent, finished=finished))
    for start in range(0, count, 700):
        tally.add(EndedBlocks.of(records[start : start + 700]))
    failed = (Record(i, "d", "failed", attempts=3, cause="gone") for i in range(100))
    tally.add(EndedBlocks.of(failed))
    found = tally.summary()
    assert (found["done"], found["failed"], found["retried"]) == (count, 100, 100)
    assert found["metrics"]["residual"]["mean"] == pytest.approx((count - 1) / 2000)
    assert found["metrics"]["residual"]["median"] == pytest.approx(count / 2000, rel=0.05)
    assert found["worst"][0] == (pytest.approx((count - 1) / 1000), count - 1, count - 1)
    assert found["seconds"] == {"fetch": 2.0}
    assert len(found["failures"]) == MAX_FAILURES
    assert len(tally.metrics["residual"].sample) == SAMPLE
    assert found["last"] == datetime.fromisoformat(finished).timestamp()
