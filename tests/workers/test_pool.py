"""The pool on real processes: the network's own bytes, whoever asks, and whoever dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed import Client
from torch import Tensor

from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.prior import file_digest, load_prior
from ddgm.pipeline.run.retry import counts_as_attempt, is_retryable
from ddgm.workers import pooled_denoiser as pool_module
from ddgm.workers.connect import connect
from ddgm.workers.members import Workers, current_workers
from ddgm.workers.pool_worker import HANDLER, STATS, NetworkSpec
from ddgm.workers.pooled_denoiser import PooledDenoiser, PoolError
from ddgm.workers.specs import Local, PoolSpec
from tests.processes import wait_for

pytestmark = pytest.mark.cluster

BATCH = 4


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A caller and a pool of two."""
    with connect(Local(workers=1, memory="2GiB"), PoolSpec(workers=2)) as client:
        yield client


@pytest.fixture
def network(tiny_prior: Path) -> NetworkSpec:
    return NetworkSpec(str(tiny_prior), file_digest(tiny_prior), "float32", BATCH, 1)


def denoised(network: NetworkSpec, x: Tensor, rounds: int = 1, seconds: float = 60.0) -> list[Any]:
    """A task on a caller: the same images through the pool, several times."""
    denoise = PooledDenoiser(network, seconds)
    return [denoise(x).numpy() for _ in range(rounds)]


def denoised_on_and_on(network: NetworkSpec, x: Tensor, folder: Path) -> list[Any]:
    """As `denoised`, until a file says that it is enough; a file for each round."""
    denoise, answers = PooledDenoiser(network, call_seconds=3.0), []
    while not (folder / "enough").exists():
        answers.append(denoise(x).numpy())
        (folder / str(len(answers))).touch()
    return answers


def alone(network: NetworkSpec, images: Tensor) -> Tensor:
    """Each image in a batch of itself alone, in this process."""
    denoise = NetworkDenoiser(load_prior(network.weights).network)
    return torch.cat([denoise(x.expand(BATCH, -1, -1, -1))[:1] for x in images.split(1)])


def addresses(client: Client) -> tuple[list[str], list[str]]:
    """Of the caller and of the pool, once all are there."""

    def workers() -> Workers | None:
        found = current_workers(client)
        return found if (len(found.block_workers), len(found.pool)) == (1, 2) else None

    found = wait_for(workers)
    assert found is not None
    return [m.address for m in found.block_workers], [m.address for m in found.pool]


def pool_pids(client: Client) -> dict[str, int]:
    found: Any = client.run(os.getpid, workers=addresses(client)[1])
    return found


def test_only_pool_workers_answer_network_calls(client: Client) -> None:
    callers, pool = addresses(client)
    found: Any = client.run(lambda dask_worker: HANDLER in dask_worker.handlers)
    assert {a for a, there in found.items() if there} == set(pool)
    assert set(found) == {*callers, *pool}


def test_an_image_gets_the_same_bits_in_any_company(client: Client, network: NetworkSpec) -> None:
    """Numbers of images that share batches, and pad them, in every way."""
    callers, pool = addresses(client)
    parts = [torch.randn(n, 1, 32, 32) for n in (1, 3, 4, 9, 22)]
    futures = [client.submit(denoised, network, x, workers=callers, pure=False) for x in parts]
    for x, future in zip(parts, futures, strict=True):
        assert torch.equal(torch.from_numpy(future.result(timeout=60)[0]), alone(network, x))
    tallies: Any = client.run(lambda dask_worker: dask_worker.handlers[STATS](), workers=pool)
    assert sum(t["images"] for t in tallies.values()) == sum(map(len, parts))
    assert sum(t["slots"] for t in tallies.values()) % BATCH == 0
    assert all(t["calls"] for t in tallies.values()), "calls are balanced over the pool"


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_calls_go_elsewhere_when_a_pool_worker_dies_or_hangs(
    client: Client, network: NetworkSpec, tmp_path: Path, fault: signal.Signals
) -> None:
    callers, _ = addresses(client)
    x = torch.randn(24, 1, 32, 32)
    victim = next(iter(pool_pids(client).values()))
    future = client.submit(denoised_on_and_on, network, x, tmp_path, workers=callers, pure=False)
    try:
        wait_for((tmp_path / "2").exists)
        os.kill(victim, fault)
        wait_for((tmp_path / "5").exists)
        (tmp_path / "enough").touch()
        answers = future.result(timeout=120)
    finally:
        if fault == signal.SIGSTOP:
            os.kill(victim, signal.SIGCONT)
    expected = alone(network, x)
    assert all(torch.equal(torch.from_numpy(a), expected) for a in answers)
    assert victim not in pool_pids(client).values() or fault == signal.SIGSTOP


def test_a_network_that_fails_is_the_callers_error(client: Client, tmp_path: Path) -> None:
    callers, _ = addresses(client)
    missing = NetworkSpec(str(tmp_path / "none.safetensors"), "0" * 64, "float32", BATCH, 1)
    future = client.submit(denoised, missing, torch.zeros(9, 1, 32, 32), workers=callers)
    with pytest.raises(Exception, match="neither a shipped prior"):
        future.result(timeout=60)


def impatiently(network: NetworkSpec, x: Tensor) -> list[Any]:
    """As `denoised`, by a caller that waits a second for a pool."""
    pool_module.PATIENCE = 1.0
    return denoised(network, x)


def test_a_caller_without_a_pool_waits_and_is_not_blamed(network: NetworkSpec) -> None:
    with connect(Local(workers=1, memory="2GiB"), PoolSpec(workers=0)) as client:
        future = client.submit(impatiently, network, torch.zeros(2, 1, 32, 32))
        error: Any = future.exception(timeout=60)
    assert isinstance(error, PoolError)
    assert str(error).startswith("pool: no worker with the resource GPU for 1 s; start one with ")
    assert not counts_as_attempt(error)
    assert is_retryable(error)
