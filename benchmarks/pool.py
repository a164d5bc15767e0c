"""The pool against the bare network: calls a second in both placements, batch fill, waiting.

python -m benchmarks.pool
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from distributed import Client

from benchmarks.common import on_this_device, report
from ddgm.core import paper
from ddgm.core.device import default_device
from ddgm.core.networks.denoiser import NetworkDenoiser, Precision
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import load_prior
from ddgm.workers.connect import connect
from ddgm.workers.members import current_workers
from ddgm.workers.pool_worker import STATS, NetworkSpec
from ddgm.workers.pooled_denoiser import PooledDenoiser
from ddgm.workers.specs import Local, PoolSpec

NOTES = """
`bare` is the network alone in a loop of full batches in the pool worker's process, before and after
the others: the mean of both. `whole` is the DDGM loop of slices there, data step, noise and tiling
included. `calls` is callers in other processes that send the patches of a batch of slices at a
time. Without a GPU the callers share the cores with the pool worker, and `calls` pays for that.
"""


def bare(network: NetworkSpec, rounds: int) -> float:
    """Patches a second of the network alone, in full batches."""
    images = np.random.default_rng(0).standard_normal((network.batch, 1, 128, 128), np.float32)
    network.run(images)
    start = time.perf_counter()
    for _ in range(rounds):
        network.run(images)
    return rounds * network.batch / (time.perf_counter() - start)


def whole(
    weights: str, batch: int, precision: Precision, slices: int, steps: int, width: int
) -> float:
    """Patches a second of the DDGM loop."""
    from ddgm.core.geometry import TiltGeometry
    from ddgm.core.methods.samplers import ddgm
    from ddgm.core.methods.schedules import log_linear
    from ddgm.core.networks.tiling import TiledDenoiser, tile_starts
    from ddgm.core.projectors import FourierProjector
    from ddgm.core.simulation.noise import NoiseField, numbered_origins

    prior, device = load_prior(weights), default_device()
    denoise = TiledDenoiser(FixedBatches(NetworkDenoiser(prior.network, precision, device), batch))
    a = FourierProjector(TiltGeometry.uniform(128, width, detector="lateral"), device=device)
    y = torch.zeros(slices, a.geometry.views, a.geometry.bins, device=device)
    origins = numbered_origins(slices)
    step, sigmas = paper.STEP / a.norm**2, log_linear(*paper.SIGMA, steps)

    def once() -> None:
        noise = NoiseField(0, "sampler").ahead((128, width), origins, device, steps)
        with torch.inference_mode():
            ddgm(a, y, denoise, noise, sigmas, step, paper.GRADIENT_STEPS).cpu()

    once()
    start = time.perf_counter()
    once()
    return (
        steps
        * slices
        * len(tile_starts(width, paper.PATCH, paper.STRIDE))
        / (time.perf_counter() - start)
    )


def calls(network: NetworkSpec, patches: int, rounds: int) -> float:
    """A caller: all patches of a batch of slices at each of its noise levels."""
    denoise, x = PooledDenoiser(network, 120.0), torch.randn(patches, 1, 128, 128)
    denoise(x)
    start = time.perf_counter()
    for _ in range(rounds):
        denoise(x)
    return rounds * patches / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--batch", type=int, default=8, help="patches to a network call")
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--width", type=int, default=512)
    a = parser.parse_args()
    prior = load_prior(a.weights)
    network = NetworkSpec(a.weights, prior.digest, a.precision, a.batch, 1)
    with connect(Local(workers=a.callers, memory="6GiB"), PoolSpec(workers=1)) as client:
        rows = measured(client, network, a)
    report(
        on_this_device("pool"),
        f"The pool: {a.weights}, {a.precision}, batches of {a.batch}",
        rows,
        NOTES,
    )


def measured(client: Client, network: NetworkSpec, a: argparse.Namespace) -> list[dict[str, Any]]:
    workers = current_workers(client)
    (pool,) = (m.address for m in workers.pool)
    callers = [m.address for m in workers.block_workers]

    def there(work: Any, *words: Any) -> float:
        done: Any = client.submit(work, *words, workers=[pool], pure=False).result()
        return done

    patches = 8 * len(range(0, a.width - 128 + 1, 96))
    first = there(bare, network, a.rounds * 4)
    loop = there(whole, a.weights, a.batch, a.precision, 8, a.rounds, a.width)
    before: Any = client.run(lambda dask_worker: dask_worker.handlers[STATS](), workers=[pool])
    start = time.perf_counter()
    futures = [
        client.submit(calls, network, patches, a.rounds, workers=[c], pure=False) for c in callers
    ]
    each: Any = client.gather(futures)
    spent = time.perf_counter() - start
    after: Any = client.run(lambda dask_worker: dask_worker.handlers[STATS](), workers=[pool])
    tally = {k: v - before[pool].get(k, 0) for k, v in after[pool].items()}
    alone = (first + there(bare, network, a.rounds * 4)) / 2
    together = sum(each)
    return [
        {"what": "bare", "patches/s": alone},
        {"what": "whole", "patches/s": loop, "of bare": loop / alone},
        {
            "what": f"calls, {len(callers)} callers",
            "patches/s": together,
            "of bare": together / alone,
            "batch fill": tally["images"] / tally["slots"],
            "waited, ms a patch": 1e3 * tally["waited"] / tally["images"],
            "network busy": tally["busy"] / spent,
        },
    ]


if __name__ == "__main__":
    main()
