"""Placement of blocks: which stages run where, and how many blocks at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from ddgm.pipeline.block.stages import (
    fetch_stage,
    finish_stage,
    reconstruct_stage,
    simulate_stage,
    solve_stage,
)
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.plan import Plan
from ddgm.workers.members import RESOURCE, WorkerInfo, Workers
from ddgm.workers.specs import PoolSpec

if TYPE_CHECKING:
    from distributed import Client, Future
from ddgm.pipeline.spec.memory import check_fits

Placement = Literal["here", "calls", "whole"]  # here: each worker does all of its blocks
Submit = Callable[["Client", RunContext, BlockTask, str, Placement], "Future"]

BLOCKS_PER_THREAD = 2  # one at work, the next fetched meanwhile
BLOCKS_PER_POOL_WORKER = 3  # one at work, one going there, one coming back


def placement_of(pool: PoolSpec, workers: Workers, before: Placement) -> Placement:
    """The placement of the spec, or else the one that suits the cluster."""
    if pool.placement is not None:
        return pool.placement
    return "whole" if workers.pool else before


def capacities(plan: Plan, workers: Workers, placement: Placement) -> dict[str, int]:
    """Blocks that each worker may hold at once, by address; empty where the pool is not there."""
    block_workers = workers.block_workers
    if placement != "here" and not workers.pool:
        return {}
    if placement != "whole":
        return {m.address: BLOCKS_PER_THREAD * m.threads for m in block_workers}
    share = -(-BLOCKS_PER_POOL_WORKER * len(workers.pool) // len(block_workers))
    return {m.address: max(1, min(share, slots_in_memory(plan, m))) for m in block_workers}


def slots_in_memory(plan: Plan, member: WorkerInfo) -> int:
    """Blocks that a worker's memory holds, which does not run the network."""
    memory = worker_memory(plan, network=False)
    if not member.memory:
        return BLOCKS_PER_POOL_WORKER
    return (member.memory - memory.total + memory.block) // memory.block


def submit(
    client: Client, context: RunContext, task: BlockTask, pinned_worker: str, placement: Placement
) -> Future:
    """Hand a block's stages to Dask; the future is the last one's, a ledger record.

    All but the reconstruction stay on the block's pinned worker, so that what is large crosses
    the network once: the sinogram on its way to the pool, and the reconstruction on its way back.
    A started block goes before those of a higher number.
    """

    def stage(work: Callable[..., Any], *inputs: Future, **where: Any) -> Future:
        name = work.__name__.removesuffix("_stage")
        return client.submit(
            work,
            context,
            task,
            *inputs,
            key=f"{name}-{task.name}",
            priority=-task.block,
            pure=False,
            **(where or {"workers": [pinned_worker]}),
        )

    cutout = stage(fetch_stage)
    if placement != "whole":
        return stage(solve_stage, cutout)
    sinogram = stage(simulate_stage, cutout)
    made = stage(reconstruct_stage, sinogram, resources={RESOURCE: 1})
    return stage(finish_stage, cutout, sinogram, made)


def check_room(plan: Plan, workers: Workers, placement: str) -> None:
    """Check, before any block is begun, that every worker can hold one.

    Raises:
        PlanError: one cannot.
    """
    for member in workers.running.values():
        runs_network = placement == "here" or (member.pool and placement == "whole")
        if member.pool and placement == "calls":
            continue  # it holds the network and its batches alone
        if member.memory:
            check_fits(plan, member.memory, f"worker {member.name}", runs_network)
