"""What went wrong, sorted by what can be done about it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ddgm_core.errors import DdgmError

if TYPE_CHECKING:
    from distributed.scheduler import KilledWorker

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class LateError(DdgmError):
    """A worker that was at a stage of a block for too long."""

    retryable = True


class DeadlyError(DdgmError):
    """A block at which workers die."""


def ends_the_run(error: BaseException) -> bool:
    """Whether every other block would fail as well: the output cannot be written."""
    return isinstance(error, OSError) and error.errno in DISK_ERRORS


def worth_retrying(error: BaseException) -> bool:
    """Whether the same block may succeed at another try with nothing mended."""
    if isinstance(error, DdgmError):
        return bool(getattr(error, "retryable", False))
    return not isinstance(error, ImportError | TypeError | AttributeError)


def blameless(error: BaseException) -> bool:
    """Whether the block had nothing to do with it, so that the try does not count."""
    return bool(getattr(error, "blameless", False))


def killed(error: BaseException) -> KilledWorker | None:
    """The error, if it is Dask's for a worker that died with a task in its hands or its queue."""
    from distributed.scheduler import KilledWorker

    return error if isinstance(error, KilledWorker) else None


def one_line(error: BaseException) -> str:
    """An error as one line: our own by their message, others with their type."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, DdgmError) else f"{type(error).__name__}: {text}"
