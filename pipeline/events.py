"""What happens in a run; progress and reports subscribe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.ledger import Record


@dataclass(frozen=True)
class RunStarted:
    """Blocks are about to be submitted."""

    blocks: int
    """Of the whole plan."""
    done: int
    """That an earlier start finished."""
    voxels: int
    """Of a full block."""
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
    """That failed."""
    cause: str


@dataclass(frozen=True)
class BlockFailed:
    """A block failed for good."""

    record: Record


@dataclass(frozen=True)
class Waiting:
    """No worker is there; the run goes on when one comes."""


Event = RunStarted | BlockDone | BlockRetried | BlockFailed | Waiting
Subscriber = Callable[[Event], None]
