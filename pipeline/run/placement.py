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
from ddgm.pipeline.block.task import Job, Trial
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.plan import Plan
from ddgm.workers.members import RESOURCE, Fleet, Member
from ddgm.workers.specs import PoolSpec

if TYPE_CHECKING:
    from distributed import Client, Future
from ddgm.pipeline.spec.memory import check_fits

Placement = Literal["here", "calls", "whole"]  # here: each worker does all of its blocks
Submit = Callable[["Client", Job, Trial, str, Placement], "Future"]

AHEAD = 2  # blocks of each thread of a worker: one at work, the next fetched meanwhile
POOL_AHEAD = 3  # blocks for each pool worker: one at work, one going there, one coming back


def placement_of(pool: PoolSpec, fleet: Fleet, before: Placement) -> Placement:
    """The placement of the spec, or else the one that suits the cluster."""
    if pool.placement is not None:
        return pool.placement
    return "whole" if fleet.pool else before


def capacities(plan: Plan, fleet: Fleet, placement: Placement) -> dict[str, int]:
    """Blocks that each worker may hold at once, by address; empty where the pool is not there."""
    homes = fleet.homes
    if placement != "here" and not fleet.pool:
        return {}
    if placement != "whole":
        return {m.address: AHEAD * m.threads for m in homes}
    share = -(-POOL_AHEAD * len(fleet.pool) // len(homes))
    return {m.address: max(1, min(share, room_for(plan, m))) for m in homes}


def room_for(plan: Plan, member: Member) -> int:
    """Blocks that a home's memory holds, which does not run the network."""
    memory = worker_memory(plan, network=False)
    if not member.memory:
        return POOL_AHEAD
    return (member.memory - memory.total + memory.block) // memory.block


def submit(client: Client, job: Job, trial: Trial, home: str, placement: Placement) -> Future:
    """Hand a block's stages to Dask; the future is the last one's, a ledger record.

    All but the reconstruction stay on the block's home, so that what is large crosses the network
    once: the sinogram on its way to the pool, and the reconstruction on its way back. A started
    block goes before those of a higher number.
    """

    def stage(work: Callable[..., Any], *inputs: Future, **where: Any) -> Future:
        name = work.__name__.removesuffix("_stage")
        return client.submit(
            work,
            job,
            trial,
            *inputs,
            key=f"{name}-{trial.name}",
            priority=-trial.block,
            pure=False,
            **(where or {"workers": [home]}),
        )

    cutout = stage(fetch_stage)
    if placement != "whole":
        return stage(solve_stage, cutout)
    sinogram = stage(simulate_stage, cutout)
    made = stage(reconstruct_stage, sinogram, resources={RESOURCE: 1})
    return stage(finish_stage, cutout, sinogram, made)


def check_room(plan: Plan, fleet: Fleet, placement: str) -> None:
    """Check, before any block is begun, that every worker can hold one.

    Raises:
        PlanError: one cannot.
    """
    for member in fleet.members.values():
        runs_network = placement == "here" or (member.pool and placement == "whole")
        if member.pool and placement == "calls":
            continue  # it holds the network and its batches alone
        if member.memory:
            check_fits(plan, member.memory, f"worker {member.name}", runs_network)
