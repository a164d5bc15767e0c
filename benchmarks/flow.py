"""Blocks that do nothing, through a local cluster: blocks a second, and memory over time.

python -m benchmarks.flow --blocks 100000
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.common import report
from ddgm.pipeline.block.code import code_digest
from ddgm.pipeline.block.context import running_stage
from ddgm.pipeline.block.stages import StageOutput
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run import placement as flow
from ddgm.pipeline.run.dask_cluster import DaskCluster
from ddgm.pipeline.run.events import BlockDone, Event
from ddgm.pipeline.run.placement import Placement
from ddgm.pipeline.run.scheduler import BlockScheduler
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables.ended import EndedBlocks
from ddgm.pipeline.store.tables.statistics import RunStatistics
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from ddgm.workers.connect import connect
from ddgm.workers.specs import Local

if TYPE_CHECKING:
    from distributed import Client, Future

NOTES = """
In flight are as many blocks as a cluster of many more workers would have, so that driver and
scheduler are what is measured. A block is two tasks, as in a run without a pool: one that fetches
nothing and one that solves nothing; each tells the driver when it begins and ends, and writes its
log. The driver's process holds the scheduler, too, so its memory is that of both. Rates are those
since the row before; `waiting for cores` is the system's load, of which this makes 2 to 3.

Dask remembers the names of its last 100,000 tasks (`dask.utils.key_split`), 50,000 blocks here, in
about 35 MB: until then the driver grows by that.
"""


def fetch_nothing(context: RunContext, task: BlockTask) -> StageOutput[None]:
    with running_stage(context, task, "fetch") as clock:
        return StageOutput(None, clock.seconds)


def solve_nothing(context: RunContext, task: BlockTask, _: StageOutput[None]) -> Record:
    with running_stage(context, task, "solve"):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Record(task.block, context.digest, "done", metrics=[{"mse": 0.5}] * 4, finished=now)


def submit(
    client: Client, context: RunContext, task: BlockTask, pinned_worker: str, placement: Placement
) -> Future:
    where: dict[str, Any] = {"workers": [pinned_worker], "priority": -task.block, "pure": False}
    nothing = client.submit(fetch_nothing, context, task, key=f"fetch-{task.name}", **where)
    return client.submit(solve_nothing, context, task, nothing, key=f"solve-{task.name}", **where)


def planned(blocks: int) -> Plan:
    """A plan of so many blocks, on a volume that is only said to be there."""
    shape = 128, 128, 8 * blocks
    info = VolumeInfo(Box((0, 0, 0), shape), (16.0, 16.0, 16.0), "uint8", (64, 64, 64), 1, 0)
    parts = {"source": {"url": "none"}, "output": {"path": "none"}, "block": {"slices": 8}}
    return make_plan(Spec.model_validate(parts), info)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ahead", type=int, default=32, help="blocks in flight for each worker")
    a = parser.parse_args()
    flow.BLOCKS_PER_THREAD = (
        a.ahead
    )  # a cluster of many workers, as its driver and scheduler see it
    start = time.perf_counter()
    million = planned(1_000_000)
    last = million.block(999_999).box
    rows: list[dict[str, Any]] = [
        {"what": f"plan of 1,000,000 blocks, the last at {last}", "s": time.perf_counter() - start}
    ]
    plan, process, tally = planned(a.blocks), psutil.Process(), RunStatistics()
    with (
        tempfile.TemporaryDirectory() as root,
        connect(Local(workers=a.workers, memory="4GiB")) as client,
    ):
        context = RunContext.of(plan, root, "digest", code_digest(), "ddgm-benchmark")
        began = before = time.perf_counter()
        counted = 0

        def count(event: Event) -> None:
            if not isinstance(event, BlockDone):
                return
            nonlocal before, counted
            tally.add(EndedBlocks.of([event.record]))
            if tally.done % (a.blocks // 10) == 0 or tally.done == a.blocks // 100:
                now = time.perf_counter()
                rows.append(
                    {
                        "what": f"{tally.done} blocks",
                        "s": now - began,
                        "blocks/s": (tally.done - counted) / (now - before),
                        "driver and scheduler, MB": process.memory_info().rss / 1e6,
                        "worker, MB": max(
                            p.memory_info().rss / 1e6 for p in process.children(recursive=True)
                        ),
                        "waiting for cores": os.getloadavg()[0],
                    }
                )
                before, counted = now, tally.done

        cluster = DaskCluster(client, context, submit)
        scheduler = BlockScheduler(cluster, context, RunStore(root), count)
        scheduler.drain(iter(range(a.blocks)))
    in_flight = a.workers * a.ahead
    title = f"{a.blocks} blocks that do nothing: {a.workers} workers, {in_flight} in flight"
    report("flow", title, rows, NOTES)


if __name__ == "__main__":
    main()
