"""Runs a spec: prepares the output, hands blocks to Dask, resumes, reports."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ddgm.core.errors import Stopped
from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.block.task import RunContext
from ddgm.pipeline.run.dask_cluster import DaskCluster
from ddgm.pipeline.run.events import ClusterStatus, Event, RunStarted, ShardMade, Subscriber
from ddgm.pipeline.run.index_files import IndexFiles
from ddgm.pipeline.run.preflight import check, create
from ddgm.pipeline.run.progress.forecast import Forecast
from ddgm.pipeline.run.progress.outcome import outcome_written
from ddgm.pipeline.run.progress.pace import Pace
from ddgm.pipeline.run.progress.prometheus import metrics_served
from ddgm.pipeline.run.progress.state import StateFile
from ddgm.pipeline.run.result import RunResult
from ddgm.pipeline.run.scheduler import BlockScheduler
from ddgm.pipeline.spec.base import PlanError
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.arrays import DamageError
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.levels.making import Levels
from ddgm.pipeline.store.lock import RunLock, run_lock
from ddgm.pipeline.store.precomputed import Precomputed
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables.index import LedgerIndex
from ddgm.pipeline.store.tables.metrics import write_metrics
from ddgm.pipeline.store.tables.whole import whole_blocks
from ddgm.pipeline.terminal import plural
from ddgm.workers.connect import connect
from ddgm.workers.specs import Local

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")


def run(
    spec: Spec,
    emit: Subscriber,
    overwrite: bool = False,
    only: Sequence[int] | None = None,
    other_versions: bool = False,
    held: RunLock | None = None,
) -> RunResult:
    """Run a spec to its end, or resume where an earlier start of the same spec stopped.

    Args:
        spec: what to do.
        emit: called with every event.
        overwrite: what an earlier run of another spec left.
        only: these blocks, which are done again where they are done, and no others.
        other_versions: whether to go on by other versions of torch and the like; see `check`.
        held: the run's lock, where the caller holds it.

    Raises:
        DdgmError: something a user can mend, found before any block or while running: the
            spec, the source, the weights, the output, a full disk, the cluster.
        Stopped: after Ctrl-C, once the blocks that were begun have ended.
    """
    start = time.monotonic()
    checked = check(spec, overwrite, other_versions)
    context = replace(checked.context, topic=f"ddgm-{uuid.uuid4().hex}")
    store, result = RunStore(context.root), RunResult(context.plan.block_count)
    locked = nullcontext(held) if held else run_lock(store.folder)
    with locked as lock, outcome_written(store, context.digest, result):
        create(checked, overwrite)
        for block in only or ():
            store.ledger.forget(block)
        pending = _left(store, context, result, only)
        stopped = False
        copy = Precomputed(store, context.plan, context.levels)
        if len(pending):
            copy.remove()  # of what a block may now be written over
            with connect(spec.cluster, spec.pool) as client:
                forecast = Forecast(client, context, len(pending))
                stopped = _drain(client, context, result, forecast, emit, lock, pending)
                result.predicted = forecast.as_json()
        index = LedgerIndex(store.folder, context.digest, result.blocks)
        there = write_metrics(store.folder, list(result.tally.columns), index.ended(keep=True))
        if (lost := result.tally.done - there) > 0:
            raise DamageError(
                f"output.path: {context.root}: gone: {plural(lost, 'record')} of blocks that were "
                "done; run the same spec again to do these blocks anew"
            )
        if context.levels and not stopped:
            levels = Levels(store, context.plan, context.digest)
            made = _told(levels.complete(), "coarser levels", levels.pyramid.count, emit)
            levels.check(made)  # above blocks given up, and after a crash
        if spec.output.also is not None and there == result.blocks:
            for _ in _told(copy.make(), "the precomputed copy", copy.count, emit):
                pass
        if stopped:
            raise Stopped("stopped; run the same spec again to go on: finished blocks are kept")
    result.seconds = time.monotonic() - start
    return result


def _told(made: Iterable[T], what: str, total: int, emit: Subscriber) -> Iterator[T]:
    """Hand on what is made after the last block, with an event for each shard."""
    for done, shard in enumerate(made, 1):
        yield shard
        emit(ShardMade(what, done, total))


def _left(
    store: RunStore, context: RunContext, result: RunResult, only: Sequence[int] | None
) -> np.ndarray:
    """The blocks that are to be done; those that an earlier start finished are counted."""
    left = np.ones(result.blocks, bool)
    for some in whole_blocks(store.folder, context.plan, context.digest, keep=True):
        result.tally.add(some)
        left[some.block] = False
    result.resumed = result.tally.done
    return np.flatnonzero(left) if only is None else np.array([b for b in only if left[b]], int)


def _drain(
    client: Client,
    context: RunContext,
    result: RunResult,
    forecast: Forecast,
    emit: Subscriber,
    lock: RunLock,
    pending: np.ndarray,
) -> bool:
    """Run all pending blocks; whether they were stopped before their end."""
    store = RunStore(context.root)
    local = isinstance(context.plan.spec.cluster, Local)  # which has none
    dashboard = "" if local else client.dashboard_link or ""
    started = RunStarted.of(context.plan, result.resumed, dashboard)
    pace = Pace(forecast, started.voxels)
    state = StateFile(store, context, result, forecast, pace)
    index = IndexFiles(LedgerIndex(store.folder, context.digest, result.blocks), pending)

    def tell(event: Event) -> None:
        for subscriber in (result, forecast, pace, state, index, metrics, emit):
            subscriber(event)
        if isinstance(event, ClusterStatus):
            paced = pace.now()
            metrics(paced)
            emit(paced)

    scheduler = BlockScheduler(DaskCluster(client, context), context, store, tell)
    try:
        with metrics_served(context, result) as metrics, _interrupts(scheduler.stop):
            tell(started)
            scheduler.drain(iter(pending.tolist()), lock.check)
    finally:
        index.close()
        result.voxels_per_second = pace.now(whole=True).voxels_per_second
        state.write(ended=True)
    return scheduler.stopping


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `stop`, a second one raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(*_: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_alone(spec: Spec, block: int) -> Record:
    """Run one block in this process, without a cluster: what reproduces a failure.

    Raises:
        DdgmError: what is wrong with the block, or that there is no such block.
    """
    count = make_plan(spec).block_count
    if not 0 <= block < count:
        raise PlanError(f"--id: there is no block {block}; the plan has 0 to {count - 1}")
    checked = check(spec)
    with run_lock(RunStore(checked.context.root).folder):
        create(checked)
        return run_block(checked.context, block)
