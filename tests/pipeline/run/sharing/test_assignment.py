"""Which blocks a worker is given, without any cluster."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import chain, pairwise

import pytest

from ddgm.pipeline.run.sharing.assignment import Assignment


def of_columns(length: int) -> Callable[[int], bool]:
    """Blocks of which so many read the same chunks."""
    return lambda block: block % length != 0


def taken(blocks: Assignment, workers: list[str]) -> dict[str, list[int]]:
    """What each worker is given where they come in turn."""
    given: dict[str, list[int]] = {worker: [] for worker in workers}
    while blocks:
        for worker in workers:
            if (block := blocks.next(worker)) is not None:
                given[worker].append(block)
    return given


def test_blocks_that_share_chunks_go_to_one_worker() -> None:
    given = taken(Assignment(range(12), of_columns(2)), ["a", "b", "c"])
    assert given == {"a": [0, 1, 6, 7], "b": [2, 3, 8, 9], "c": [4, 5, 10, 11]}


def test_blocks_that_share_nothing_go_in_their_order() -> None:
    blocks = Assignment(range(5), lambda block: False)
    assert [blocks.next(worker) for worker in "abaab"] == [0, 1, 2, 3, 4]
    assert (bool(blocks), blocks.next("a")) == (False, None)


def test_a_chain_is_cut_into_as_many_parts_as_there_are_workers() -> None:
    """Blocks coupled by halos: each reads what its neighbours read."""
    given = taken(Assignment(range(16), of_columns(16)), ["a", "b", "c", "d"])
    assert sorted(chain.from_iterable(given.values())) == list(range(16))
    for own in given.values():
        assert len(own) == 4
        assert sum(b != a + 1 for a, b in pairwise(own)) <= 1


@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_no_worker_waits_while_blocks_are_left(length: int) -> None:
    """One that is much quicker than the other does all of the rest, and each block once."""
    blocks = Assignment(range(20), of_columns(length))
    slow = blocks.next("slow")
    quick = [blocks.next("quick") for _ in range(19)]
    assert sorted([slow, *quick]) == list(range(20))  # type: ignore[type-var]
    assert not blocks


def test_a_worker_at_work_leaves_others_their_blocks() -> None:
    blocks = Assignment(range(4), of_columns(2))
    assert [blocks.next("a"), blocks.next("b"), blocks.next("b")] == [0, 2, 3]
    assert blocks.next("b", at_work=True) is None
    assert blocks
    assert (blocks.next("b"), bool(blocks)) == (1, False)


def test_what_a_lost_worker_had_left_is_done_by_others() -> None:
    blocks = Assignment(range(8), of_columns(4))
    assert [blocks.next("lost"), blocks.next("other")] == [0, 4]
    assert sorted(iter(lambda: blocks.next("other"), None)) == [1, 2, 3, 5, 6, 7]


def test_blocks_that_are_done_cut_a_stretch() -> None:
    blocks = Assignment([0, 1, 3, 4, 5], of_columns(6))
    assert [blocks.next("a"), blocks.next("b"), blocks.next("a"), blocks.next("b")] == [0, 3, 1, 4]


@pytest.mark.parametrize("length", [2, 500, 100_000])
def test_many_blocks_take_no_memory(length: int) -> None:
    """A list of them would take 3.6 MB; other threads of this process take some 0.3 MB."""
    blocks = Assignment(range(100_000), of_columns(length))
    tracemalloc.start()
    given = 0
    while blocks.next(f"worker-{given % 256}") is not None:
        given += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert given == 100_000
    assert peak < 1_000_000
