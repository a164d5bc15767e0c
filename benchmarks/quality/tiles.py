"""Ways to run the network over a wide slice: quality, seams, time.

    python -m benchmarks.quality.tiles fib25/heldout.npy

Slices of the test half (z >= 78), 128 × 156, mirrored to `--width`; lateral detector, DDGM with
N = 50, K = 25. `tiles of 128 every 96` is what ships. `every 128, jittered` has no overlap, but
other borders at every noise level, so that none stays. `whole rows` has no tiles at all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import medians, report
from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.samplers import ddgm
from ddgm.core.methods.schedules import log_linear
from ddgm.core.metrics import scores as metrics
from ddgm.core.networks.denoiser import Denoiser, NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import load_prior
from ddgm.core.networks.tiling import RowDenoiser, TiledDenoiser, reflected
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.projectors import FourierProjector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.tilt_series import tilt_series

TEST_HALF, THICKNESS, PATCH = 78, 128, 128


class Jittered:
    """Tiles that touch, their borders elsewhere at every call."""

    def __init__(self, denoise: Denoiser, batch: int) -> None:
        self.tiled = TiledDenoiser(FixedBatches(denoise, batch), PATCH, PATCH, "box")
        self.rng = np.random.default_rng(0)

    def __call__(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        before = int(self.rng.integers(PATCH))
        whole = -(-(before + width) // PATCH) * PATCH
        flipped = reflected(x.flip(-1), x.shape[-2], width + before).flip(-1)
        return self.tiled(reflected(flipped, x.shape[-2], whole))[..., before : before + width]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path)
    parser.add_argument("--width", type=int, default=1568)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    keep_freed_memory()
    prior = load_prior("small")
    network = NetworkDenoiser(prior.network, "bfloat16")
    ways: dict[str, Denoiser] = {
        "tiles of 128 every 96": TiledDenoiser(FixedBatches(network, a.batch)),
        "every 128": TiledDenoiser(FixedBatches(network, a.batch), stride=PATCH),
        "every 128, jittered": Jittered(network, a.batch),
        "whole rows": RowDenoiser(FixedBatches(network, 1), prior.card.architecture.multiple),
    }
    volume = np.load(a.array, mmap_mode="r", allow_pickle=False)[TEST_HALF:]
    chosen = volume[:: len(volume) // a.slices, :THICKNESS][: a.slices].astype(np.float32)
    truth = torch.from_numpy(prior.card.intensity.normalised(chosen))
    truth = reflected(truth[:, None], THICKNESS, a.width)[:, 0].contiguous()
    solve = solver(truth)
    seconds = medians({k: lambda d=d: d(truth[:, None]) for k, d in ways.items()}, a.rounds)
    rows = []
    for name, denoise in ways.items():
        start = time.perf_counter()
        x = solve(denoise)
        seam = metrics.seam_energy(x, PATCH, 96 if "96" in name else PATCH)
        own = metrics.seam_energy(truth, PATCH, 96 if "96" in name else PATCH)
        rows.append(
            {
                "what": name,
                "s a slice and noise level": seconds[name] / a.slices,
                "time": seconds[name] / seconds["tiles of 128 every 96"],
                "MSE": float(metrics.mse(x, truth).mean()),
                "SSIM": float(metrics.ssim(x, truth).mean()),
                "seam energy over the truth's": float((seam / own).mean()),
            }
        )
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    report("tiles", f"Ways over {a.slices} slices of 128 x {a.width}, `small`", rows, NOTES)


NOTES = """
Seam energy is the mean jump across the borders of that way's tiles (of 128 for whole rows and
jittered ones) over the mean jump elsewhere, over the same of the truth: 1 has no seams. Time is
that of one evaluation over all slices, medians of interleaved rounds, bfloat16.
"""


@torch.inference_mode()
def solver(truth: Tensor) -> Callable[[Denoiser], Tensor]:
    """DDGM on the truth's tilt series, by any denoiser."""
    a = FourierProjector(TiltGeometry.uniform(truth.shape[1], truth.shape[2], detector="lateral"))
    origins = numbered_origins(len(truth))
    y = tilt_series(a.forward, truth, paper.TILT_NOISE, 0, origins)
    step = paper.STEP / a.norm**2

    @torch.inference_mode()
    def solve(denoise: Denoiser) -> Tensor:
        noise = NoiseField(0, "sampler").ahead(tuple(truth.shape[1:]), origins, truth.device, 50)
        return ddgm(a, y, denoise, noise, log_linear(*paper.SIGMA, 50), step, 25)

    return solve


if __name__ == "__main__":
    main()
