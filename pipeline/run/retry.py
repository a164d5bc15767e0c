"""The scheduling policy: what follows from a failure, given what is known of the block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ddgm.core.errors import DdgmError
from ddgm.pipeline.errors import DISK_ERRORS

BACK_OFF_SECONDS = 2.0  # before the second attempt; four times as long before each next
MAX_WORKER_DEATHS = 2  # of workers at work on a block, before it is taken for the cause
MAX_RESUBMITS = 20  # of a block through no fault of its own, before it is given up all the same


class StageTimeoutError(DdgmError):
    """A worker that was at a stage of a block for too long."""

    is_retryable = True


class WorkerKillerError(DdgmError):
    """A block at which workers die."""


@dataclass(frozen=True)
class BlockState:
    """A block that has not ended, over all of its attempts.

    Attributes:
        block: its index.
        attempt: the number of the one under way, from 1; only those that failed count.
        deaths: of workers that were at work on it.
        resubmits: through no fault of its own.
    """

    block: int
    attempt: int = 1
    deaths: int = 0
    resubmits: int = 0


@dataclass(frozen=True)
class WorkerLost:
    """A worker died with a block: at work on a stage of it, or, with none named, not yet."""

    stage: str = ""


@dataclass(frozen=True)
class Retry:
    """Begin the block's next attempt after so many seconds."""

    state: BlockState
    after: float


@dataclass(frozen=True)
class Resubmit:
    """Begin the same attempt again at once."""

    state: BlockState


@dataclass(frozen=True)
class GiveUp:
    """Record the block as failed."""

    cause: BaseException


@dataclass(frozen=True)
class Abort:
    """End the run."""

    error: BaseException


Failure = BaseException | WorkerLost
Decision = Retry | Resubmit | GiveUp | Abort


def decide(state: BlockState, failure: Failure, attempts: int) -> Decision:
    """Decide what becomes of a block.

    Args:
        state: what is known of the block.
        failure: what happened to its attempt.
        attempts: that each block has.
    """
    if isinstance(failure, WorkerLost):
        return _after_a_death(state, failure.stage)
    if is_fatal(failure):
        return Abort(failure)
    if not counts_as_attempt(failure):
        return _resubmit(state)
    if state.attempt < attempts and is_retryable(failure):
        after = BACK_OFF_SECONDS * 4 ** (state.attempt - 1)
        return Retry(replace(state, attempt=state.attempt + 1), after)
    return GiveUp(failure)


def _after_a_death(state: BlockState, stage: str) -> Decision:
    state = replace(state, deaths=state.deaths + bool(stage))
    if state.deaths < MAX_WORKER_DEATHS:
        return _resubmit(state)
    return GiveUp(
        WorkerKillerError(
            f"{MAX_WORKER_DEATHS} workers died at it, the last at stage {stage or 'unknown'}; "
            "look for memory (`ddgm plan` says what a block needs) and for crashes in their logs"
        )
    )


def _resubmit(state: BlockState) -> Decision:
    if state.resubmits == MAX_RESUBMITS:
        what = f"its workers were lost {MAX_RESUBMITS} times; look at their logs"
        return GiveUp(WorkerKillerError(what))
    return Resubmit(replace(state, resubmits=state.resubmits + 1))


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
