"""Batching: full batches from many callers, each answered its own, nobody left waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from ddgm.workers.batching import Batcher, Busy


def images(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1, 1, 1) + np.zeros((1, 1, 2, 2), np.float32)


class Network:
    """Negates; remembers the batches it was given, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.gate.wait(20)
        self.batches.append(batch[:, 0, 0, 0].tolist())
        return -batch


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def test_callers_share_full_batches_and_each_gets_its_own() -> None:
    network = Network()

    async def main() -> list[np.ndarray]:
        batcher = Batcher(network, size=4, wait=30)  # would wait long for a batch to fill
        requests = [images(1, 2, 3), images(4, 5, 6, 7, 8, 9), images(10, 11, 12)]
        return await asyncio.gather(*map(batcher, requests))

    answers = asyncio.run(main())
    assert [a[:, 0, 0, 0].tolist() for a in answers] == [
        [-1, -2, -3],
        [-4, -5, -6, -7, -8, -9],
        [-10, -11, -12],
    ]
    assert network.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_what_does_not_fill_a_batch_goes_padded_after_its_wait() -> None:
    network = Network()

    async def main() -> Batcher:
        batcher = Batcher(network, size=4, wait=0.05)
        start = time.monotonic()
        assert (await batcher(images(1, 2)))[:, 0, 0, 0].tolist() == [-1, -2]
        assert time.monotonic() - start >= 0.05
        return batcher

    stats = asyncio.run(main()).stats
    assert network.batches == [[1, 2, 1, 1]]
    assert (stats.calls, stats.images, stats.slots) == (1, 2, 4)
    assert stats.waited >= 2 * 0.05


def test_while_the_network_is_busy_a_batch_goes_on_filling() -> None:
    network = Network()

    async def main() -> None:
        network.gate.clear()
        batcher = Batcher(network, size=2, wait=0.0)
        calls = [asyncio.create_task(batcher(images(i))) for i in (1, 2, 3, 4)]
        await asyncio.sleep(0.05)
        calls.append(asyncio.create_task(batcher(images(5))))  # meets 4, which has long been due
        await asyncio.sleep(0.01)
        network.gate.set()
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert network.batches == [[1, 1], [2, 3], [4, 5]]


def test_a_full_backlog_turns_callers_away_until_there_is_room() -> None:
    network = Network()

    async def main() -> Batcher:
        network.gate.clear()
        batcher = Batcher(network, size=2, wait=0.0, backlog=1)
        calls = [asyncio.create_task(batcher(images(i, i))) for i in (1, 2, 3)]  # two begin
        await until(lambda: len(calls) == 3 and batcher._waiting == 2)
        with pytest.raises(Busy):
            await batcher(images(4))
        network.gate.set()
        await asyncio.gather(*calls)
        assert (await batcher(images(5)))[0, 0, 0, 0] == -5
        return batcher

    assert asyncio.run(main()).stats.refused == 1


def test_a_caller_who_goes_away_costs_the_others_nothing() -> None:
    network = Network()

    async def main() -> None:
        network.gate.clear()
        batcher = Batcher(network, size=1, wait=0.0)
        calls = [asyncio.create_task(batcher(images(i))) for i in (1, 2, 3, 4)]
        await until(lambda: batcher._waiting == 2)
        calls[2].cancel()
        await asyncio.sleep(0)
        network.gate.set()
        assert (await calls[3])[0, 0, 0, 0] == -4

    asyncio.run(main())
    assert network.batches == [[1], [2], [4]]


def test_an_error_of_the_network_reaches_the_callers_of_its_batch_alone() -> None:
    def network(batch: np.ndarray) -> np.ndarray:
        if (batch == 13).any():
            raise ArithmeticError("thirteen")
        return -batch

    async def main() -> list[np.ndarray | BaseException]:
        batcher = Batcher(network, size=2, wait=30)
        requests = [images(13), images(1), images(2, 3)]
        return await asyncio.gather(*map(batcher, requests), return_exceptions=True)

    first, second, third = asyncio.run(main())
    assert isinstance(first, ArithmeticError)
    assert isinstance(second, ArithmeticError)
    assert isinstance(third, np.ndarray)
