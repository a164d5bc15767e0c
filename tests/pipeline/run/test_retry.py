"""The scheduling policy as a table: what is known of a block, what happened, what follows."""

from __future__ import annotations

import errno

import pytest

from ddgm.pipeline.run.retry import (
    MAX_RESUBMITS,
    Abort,
    BlockState,
    Failure,
    GiveUp,
    Resubmit,
    Retry,
    StageTimeoutError,
    WorkerLost,
    decide,
)
from ddgm.pipeline.store.files import FolderError
from ddgm.pipeline.volumes.volume import SourceError
from ddgm.workers.pooled_denoiser import PoolError

FIRST = BlockState(7)
UNREACHABLE = SourceError("no answer", "unreachable")
MISSING = SourceError("gone", "missing")
LATE = StageTimeoutError("an hour")
POOLLESS = PoolError("pool: no worker")
UNLUCKY = BlockState(7, attempt=2, deaths=1, resubmits=3)


@pytest.mark.parametrize(
    ("state", "failure", "expected"),
    [
        (FIRST, UNREACHABLE, Retry(BlockState(7, attempt=2), 2.0)),
        (BlockState(7, attempt=2), LATE, Retry(BlockState(7, attempt=3), 8.0)),
        (UNLUCKY, MemoryError(), Retry(BlockState(7, 3, 1, 3), 8.0)),
        (BlockState(7, attempt=3), UNREACHABLE, GiveUp(UNREACHABLE)),
        (FIRST, MISSING, GiveUp(MISSING)),
        (FIRST, POOLLESS, Resubmit(BlockState(7, resubmits=1))),
        (BlockState(7, attempt=3), POOLLESS, Resubmit(BlockState(7, attempt=3, resubmits=1))),
        (FIRST, WorkerLost(), Resubmit(BlockState(7, resubmits=1))),
        (FIRST, WorkerLost("fetch"), Resubmit(BlockState(7, deaths=1, resubmits=1))),
        (UNLUCKY, WorkerLost(), Resubmit(BlockState(7, 2, 1, 4))),
    ],
    ids=str,
)
def test_what_becomes_of_a_block(
    state: BlockState, failure: Failure, expected: Retry | Resubmit | GiveUp
) -> None:
    assert decide(state, failure, attempts=3) == expected


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "no space"), FolderError("read-only")])
def test_an_output_that_cannot_be_written_ends_the_run(failure: Exception) -> None:
    assert decide(FIRST, failure, attempts=3) == Abort(failure)


def test_a_block_at_which_two_workers_died_is_given_up_with_the_stage() -> None:
    decision = decide(UNLUCKY, WorkerLost("finish"), attempts=3)
    assert isinstance(decision, GiveUp)
    assert str(decision.cause).startswith("2 workers died at it, the last at stage finish; ")


@pytest.mark.parametrize("failure", [POOLLESS, WorkerLost()])
def test_a_block_that_is_begun_anew_too_often_is_given_up(failure: Failure) -> None:
    state, count = FIRST, 0
    while isinstance(decision := decide(state, failure, attempts=3), Resubmit):
        state, count = decision.state, count + 1
    assert isinstance(decision, GiveUp)
    assert str(decision.cause) == "its workers were lost 20 times; look at their logs"
    assert (count, state.attempt) == (MAX_RESUBMITS, 1)
