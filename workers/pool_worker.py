"""The server half of the pool: Dask workers that hold the network and answer calls to it.

A pool worker is a Dask worker started with `--resources GPU=1`, one process per device; without
a GPU it is a process of the CPU behind the same interface. It is asked through a handler of its
own, beside Dask's tasks: an actor's callers hang for ever when it dies (measured).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from distributed import WorkerPlugin

from ddgm.core.device import default_device
from ddgm.core.networks.denoiser import NetworkDenoiser, Precision
from ddgm.core.networks.prior import load_prior
from ddgm.core.process_cache import cached_in_process
from ddgm.workers.batching import Batcher, Busy
from ddgm.workers.members import RESOURCE

if TYPE_CHECKING:
    from distributed import Worker

HANDLER, STATS = "ddgm_denoise", "ddgm_stats"


@dataclass(frozen=True)
class NetworkSpec:
    """The network that a call is for, and its precision, batch and threads; sent with each call.

    Attributes:
        weights: a shipped prior's name, or a file that pool workers see.
        sha256: of the weights; others are refused.
        batch: images to a call of the network.
        threads: of its numerical work on a CPU.
    """

    weights: str
    sha256: str
    precision: Precision
    batch: int
    threads: int

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run the network once in this process, loading it first if need be."""
        torch.set_num_threads(self.threads)  # nannies set it to 1
        denoise, device = cached_in_process(("network", self), self._load)
        return denoise(torch.from_numpy(images).to(device)).cpu().numpy()

    def _load(self) -> tuple[NetworkDenoiser, torch.device]:
        device = default_device()
        prior = load_prior(self.weights, self.sha256)
        return NetworkDenoiser(prior.network, self.precision, device), device


class PoolPlugin(WorkerPlugin):
    """Adds the handler of network calls to pool workers; leaves other workers as they are.

    It loads nothing, so it cannot fail: a worker whose plugin failed joins all the same.
    """

    name = "ddgm-pool"

    def setup(self, worker: Worker) -> None:
        """Called by Dask on every worker, present and future, restarted ones included."""
        if not worker.state.total_resources.get(RESOURCE):
            return
        asked: dict[NetworkSpec, Batcher] = {}

        async def denoise(images: np.ndarray, network: dict[str, Any]) -> dict[str, Any]:
            from distributed.protocol.serialize import to_serialize

            key = NetworkSpec(**network)
            if key not in asked:
                asked[key] = Batcher(key.run, key.batch)
            try:
                return {"images": to_serialize(await asked[key](images))}
            except Busy:  # an answer, since Dask logs what is raised here
                return {"busy": True}

        def stats() -> dict[str, float]:
            each = [asdict(b.stats) for b in asked.values()]
            return {k: sum(s[k] for s in each) for k in (each[0] if each else ())}

        worker.handlers[HANDLER], worker.handlers[STATS] = denoise, stats
