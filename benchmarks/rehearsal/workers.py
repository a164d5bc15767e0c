"""Simulated workers: many Dask workers in one process, whose blocks take a stated time.

python -m benchmarks.rehearsal.workers ADDRESS --count 128 --seconds 0
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime

import numpy as np
from dask import config
from distributed import Worker

from ddgm.pipeline.block import stages
from ddgm.pipeline.block.context import release_slot, running_stage, worker_name
from ddgm.pipeline.block.stages import StageOutput
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.workers.settings import settings

SCORES = "mse", "ssim", "residual", "resolution_width", "resolution_thickness", "invented"
NAMES = "slice", *SCORES, *(f"algebraic_{name}" for name in SCORES)


class Simulated:
    """The stages of a block, which sleep and write a record.

    Args:
        seconds: of a block.
        slices: in its record.
    """

    def __init__(self, seconds: float, slices: int) -> None:
        self.seconds, self.slices = seconds, slices

    def install(self) -> None:
        """Have this process run these stages in place of the real ones."""
        stages.fetch_stage, stages.solve_stage = self.fetch, self.solve  # type: ignore[assignment]

    def fetch(self, context: RunContext, task: BlockTask) -> StageOutput[None]:
        """Read nothing."""
        release_slot()
        with running_stage(context, task, "fetch") as clock, clock("fetch"):
            return StageOutput(None, clock.seconds)

    def solve(self, context: RunContext, task: BlockTask, _: StageOutput[None]) -> Record:
        """Sleep, write a shard, and put the record, in the stages that a real block has."""
        with running_stage(context, task, "simulate"):
            pass
        with running_stage(context, task, "reconstruct") as clock, clock("reconstruct"):
            time.sleep(self.seconds)
        with running_stage(context, task, "finish"):
            plan, store = context.plan, RunStore(context.root)
            shape = layout_of(plan, "reconstruction").shard
            layers: dict[Layer, np.ndarray] = {"reconstruction": np.zeros(shape, np.uint8)}
            written = store.write(plan, plan.block(task.block), layers)
            rows = [
                {name: (task.block + k) / (i + 7) for i, name in enumerate(NAMES)}
                for k in range(self.slices)
            ]
            record = Record(
                task.block,
                context.digest,
                "done",
                metrics=rows,
                seconds=clock.seconds,
                worker=worker_name(),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                checksums=written.checksums,
                sizes=written.sizes,
            )
            store.ledger.put(record)
        with running_stage(context, task, "levels"):
            pass
        return record


async def serve(address: str, count: int, first: int) -> None:
    """Run so many workers until they are told to end."""
    names = (f"sim-{first + i}" for i in range(count))
    ours = [Worker(address, nthreads=1, name=name, memory_limit=0) for name in names]
    await asyncio.gather(*ours)
    await asyncio.gather(*(worker.finished() for worker in ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--slices", type=int, default=40)
    a = parser.parse_args()
    Simulated(a.seconds, a.slices).install()
    with config.set({**settings(), "distributed.worker.profile.enabled": False}):
        asyncio.run(serve(a.address, a.count, a.first))


if __name__ == "__main__":
    main()
