"""Classify the errors of a block: which are worth another attempt, which end the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddgm.core.errors import DdgmError

if TYPE_CHECKING:
    from distributed.scheduler import KilledWorker
from ddgm.pipeline.errors import DISK_ERRORS


class StageTimeoutError(DdgmError):
    """A worker that was at a stage of a block for too long."""

    is_retryable = True


class WorkerKillerError(DdgmError):
    """A block at which workers die."""


def is_fatal(error: BaseException) -> bool:
    """True if every other block would fail as well: the output cannot be written."""
    full = isinstance(error, OSError) and error.errno in DISK_ERRORS
    return full or bool(getattr(error, "is_fatal", False))


def is_retryable(error: BaseException) -> bool:
    """True if the same block may succeed at another attempt with nothing changed."""
    if isinstance(error, DdgmError):
        return bool(getattr(error, "is_retryable", False))
    return not isinstance(error, ImportError | TypeError | AttributeError)


def counts_as_attempt(error: BaseException) -> bool:
    """True if the block may be the cause, so that it has one attempt fewer left."""
    return bool(getattr(error, "counts_as_attempt", True))


def killed(error: BaseException) -> KilledWorker | None:
    """The error, if it is Dask's for a worker that died with a task in its hands or its queue."""
    from distributed.scheduler import KilledWorker

    return error if isinstance(error, KilledWorker) else None
