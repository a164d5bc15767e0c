"""Events of a run; progress and reports subscribe to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ddgm.pipeline.run.placement import Placement
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


@dataclass(frozen=True)
class ClusterStatus:
    """State of the cluster, emitted every few seconds."""

    placement: Placement
    block_workers: int
    """Workers that hold blocks."""
    pool: int
    """Workers that run the network for them."""
    active: tuple[ActiveBlock, ...] = ()
    pool_seconds: float = 0.0
    """Seconds that the pool has spent in network calls for others."""


@dataclass(frozen=True)
class Stopping:
    """Ctrl-C: begun blocks are finished, and no others are begun."""


@dataclass(frozen=True)
class Copied:
    """A shard of the copy that the spec asks for (`output.also`) is in place."""

    done: int
    """Shards that are."""
    total: int
    """Shards of the whole copy."""


Event = (
    RunStarted
    | BlockDone
    | BlockRetried
    | BlockFailed
    | Waiting
    | ClusterStatus
    | Stopping
    | Copied
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

    def on_stopping(self, event: Stopping) -> None:
        """No more blocks are begun."""

    def on_copied(self, event: Copied) -> None:
        """A shard of the copy is in place."""


_METHODS = {
    RunStarted: "on_run_started",
    BlockDone: "on_block_done",
    BlockRetried: "on_block_retried",
    BlockFailed: "on_block_failed",
    Waiting: "on_waiting",
    ClusterStatus: "on_cluster_status",
    Stopping: "on_stopping",
    Copied: "on_copied",
}
