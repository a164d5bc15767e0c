"""Events of a run; progress and reports subscribe to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

from ddgm.core.process_work import Work
from ddgm.pipeline.run.placement import Placement
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.ledger import Record


@dataclass(frozen=True)
class RunStarted:
    """Blocks are about to be submitted."""

    blocks: int
    """Blocks of the whole plan."""
    done: int
    """Blocks that an earlier start finished."""
    voxels: int
    """Voxels of a full block."""
    dashboard: str
    """Dask's address for the browser."""
    slices: int
    """Slices of a full block."""
    batch: int
    """Slices that are solved at once; those of a block, where the method couples them."""
    levels: int
    """Noise levels of a batch, over all chains."""

    @classmethod
    def of(cls, plan: Plan, done: int, dashboard: str) -> RunStarted:
        """The start of a plan of which so many blocks are done."""
        method, block = plan.spec.method, plan.spec.block
        return cls(
            blocks=plan.block_count,
            done=done,
            voxels=prod(plan.shard),
            dashboard=dashboard,
            slices=block.slices,
            batch=block.slices if method.couples_slices else block.batch,
            levels=method.rounds,
        )


@dataclass(frozen=True)
class BlockDone:
    """A block's data and record are in place."""

    record: Record


@dataclass(frozen=True)
class BlockRetried:
    """A block failed and is begun again."""

    block: int
    attempt: int
    """The attempt that failed."""
    cause: str


@dataclass(frozen=True)
class BlockFailed:
    """A block failed for good."""

    record: Record


@dataclass(frozen=True)
class Waiting:
    """No worker is there; the run goes on when one comes."""

    pool: bool = False
    """Others are: it is a pool worker that is missing."""


@dataclass(frozen=True)
class ActiveBlock:
    """A block that a worker is at."""

    block: int
    stage: str
    worker: str
    """Its name."""
    seconds: float
    """Since the stage began."""
    done: int = 0
    """Noise levels that its batches have passed."""
    total: int = 0
    """Noise levels that they pass; 0 before the reconstruction."""


@dataclass(frozen=True)
class ClusterStatus:
    """State of the cluster, emitted every few seconds."""

    placement: Placement
    block_workers: int
    """Workers that hold blocks."""
    pool: int
    """Workers that run the network for them."""
    active: tuple[ActiveBlock, ...] = ()
    network: Mapping[str, float] = field(default_factory=dict)
    """The pool's counts of network calls for others; see `BatcherStats`."""
    parts: Mapping[int, float] = field(default_factory=dict)
    """The part of its reconstruction that is done, of each block in flight."""
    once: tuple[tuple[str, Work], ...] = ()
    """What is done once and not for a block, with the name of the worker that is at it."""


@dataclass(frozen=True)
class Paced:
    """The pace of the run; emitted after each `ClusterStatus`."""

    blocks: float
    """Blocks that have ended since the start, and the parts that are done of others."""
    voxels_per_second: float | None
    """None while it is not measured."""
    left_seconds: float | None
    """None while nothing says."""


@dataclass(frozen=True)
class ShardMade:
    """A shard of what follows the last block is there: of coarser levels, or of a copy."""

    what: str
    """In words."""
    done: int
    """Shards that are there."""
    total: int
    """Shards of all of it."""


@dataclass(frozen=True)
class Stopping:
    """Ctrl-C: begun blocks are finished, and no others are begun."""


Event = (
    RunStarted
    | BlockDone
    | BlockRetried
    | BlockFailed
    | Waiting
    | ClusterStatus
    | Paced
    | Stopping
    | ShardMade
)
Subscriber = Callable[[Event], None]


class RunObserver:
    """Base of those who watch a run: a subscriber with a method for each kind of event."""

    def __call__(self, event: Event) -> None:
        """Call the method for the event's kind."""
        getattr(self, _METHODS[type(event)])(event)

    def on_run_started(self, event: RunStarted) -> None:
        """Blocks are about to be submitted."""

    def on_block_done(self, event: BlockDone) -> None:
        """A block's data and record are in place."""

    def on_block_retried(self, event: BlockRetried) -> None:
        """A block failed and is begun again."""

    def on_block_failed(self, event: BlockFailed) -> None:
        """A block failed for good."""

    def on_waiting(self, event: Waiting) -> None:
        """No worker is there."""

    def on_cluster_status(self, event: ClusterStatus) -> None:
        """The workers were polled."""

    def on_paced(self, event: Paced) -> None:
        """The pace was looked at."""

    def on_stopping(self, event: Stopping) -> None:
        """No more blocks are begun."""

    def on_shard_made(self, event: ShardMade) -> None:
        """A shard of what follows the last block is there."""


_METHODS = {
    RunStarted: "on_run_started",
    BlockDone: "on_block_done",
    BlockRetried: "on_block_retried",
    BlockFailed: "on_block_failed",
    Waiting: "on_waiting",
    ClusterStatus: "on_cluster_status",
    Paced: "on_paced",
    Stopping: "on_stopping",
    ShardMade: "on_shard_made",
}
