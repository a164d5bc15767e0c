"""Placement of a block's stages, and the number of blocks at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddgm.pipeline.block.stages import (
    fetch_stage,
    finish_stage,
    reconstruct_stage,
    simulate_stage,
    solve_stage,
)
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.spec.memory import check_fits, worker_memory
from ddgm.pipeline.spec.plan import Plan
from ddgm.workers.members import RESOURCE, WorkerInfo, Workers
from ddgm.workers.specs import PoolSpec

if TYPE_CHECKING:
    from distributed import Client, Future

BLOCKS_PER_THREAD = 2  # one at work, the next fetched meanwhile
BLOCKS_PER_POOL_WORKER = 3  # one at work, one going there, one coming back


@dataclass(frozen=True)
class Placement:
    """The workers that run a block's method, and those that run its network.

    Attributes:
        name: as the spec and `ddgm status` have it.
        method_on_pool: pool workers run the whole method.
        calls_pool: block workers run the method, and call the pool for the network.
    """

    name: str
    method_on_pool: bool = False
    calls_pool: bool = False

    @property
    def network_on_block_workers(self) -> bool:
        """True where each worker does all of its blocks, and no pool is needed."""
        return not (self.method_on_pool or self.calls_pool)

    def method_workers(self, workers: Workers) -> list[WorkerInfo]:
        """Workers that run the method."""
        return workers.pool if self.method_on_pool else workers.block_workers

    def runs_network(self, worker: WorkerInfo) -> bool:
        """True if a worker that holds blocks or methods needs memory for the network."""
        return self.network_on_block_workers or (worker.pool and self.method_on_pool)


LOCAL = Placement("local")
WHOLE = Placement("whole", method_on_pool=True)
CALLS = Placement("calls", calls_pool=True)
PLACEMENTS = {placement.name: placement for placement in (LOCAL, WHOLE, CALLS)}

Submit = Callable[["Client", RunContext, BlockTask, str, Placement], "Future"]


def placement_of(pool: PoolSpec, workers: Workers, before: Placement) -> Placement:
    """The placement of the spec, or else the one that suits the cluster.

    Once a pool was seen, it is waited for.
    """
    if pool.placement is not None:
        return PLACEMENTS[pool.placement]
    return WHOLE if workers.pool else before


def capacities(plan: Plan, workers: Workers, placement: Placement) -> dict[str, int]:
    """Blocks that each worker may hold at once, by address; empty where the pool is not there."""
    block_workers = workers.block_workers
    if not placement.network_on_block_workers and not workers.pool:
        return {}
    if not placement.method_on_pool:
        return {w.address: BLOCKS_PER_THREAD * w.threads for w in block_workers}
    share = -(-BLOCKS_PER_POOL_WORKER * len(workers.pool) // len(block_workers))
    return {w.address: max(1, min(share, slots_in_memory(plan, w))) for w in block_workers}


def slots_in_memory(plan: Plan, worker: WorkerInfo) -> int:
    """Blocks that the memory of a worker without a network holds."""
    memory = worker_memory(plan, network=False)
    if not worker.memory:
        return BLOCKS_PER_POOL_WORKER
    return (worker.memory - memory.total + memory.block) // memory.block


def check_room(plan: Plan, workers: Workers, placement: Placement) -> None:
    """Check, before any block is begun, that every worker can hold one.

    Raises:
        PlanError: one cannot.
    """
    for worker in workers.running.values():
        if worker.pool and placement.calls_pool:
            continue  # it holds the network and its batches alone
        if worker.memory:
            name = f"worker {worker.name}"
            check_fits(plan, worker.memory, name, placement.runs_network(worker))


def submit_stages(
    client: Client, context: RunContext, task: BlockTask, pinned_worker: str, placement: Placement
) -> Future:
    """Hand a block's stages to Dask; the future is the last one's, a ledger record.

    All but the reconstruction stay on the block's pinned worker, so that what is large crosses
    the network once: the sinogram on its way to the pool, and the reconstruction on its way back.
    A block goes before those that were submitted after it.
    """

    def stage(name: str, work: Callable[..., Any], *inputs: Future, **where: Any) -> Future:
        return client.submit(
            work,
            context,
            task,
            *inputs,
            key=f"{name}-{task.name}",
            priority=-task.order,
            pure=False,
            **(where or {"workers": [pinned_worker]}),
        )

    cutout = stage("fetch", fetch_stage)
    if not placement.method_on_pool:
        return stage("solve", solve_stage, cutout)
    sinogram = stage("simulate", simulate_stage, cutout)
    made = stage("reconstruct", reconstruct_stage, sinogram, resources={RESOURCE: 1})
    return stage("finish", finish_stage, cutout, sinogram, made)
