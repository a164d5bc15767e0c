"""Seams at 128 x 1568: jumps across tile borders, tiled and not, on the phantom and real EM.

    python -m benchmarks.quality.seams --real fib25/train_a.npy

The real volume is mirrored to the width. Seam energy is the mean jump across the tiles' lateral
borders over the mean jump elsewhere, over the truth's own; the untiled reconstruction, the
network on whole rows, is measured at the same columns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks.common import RESULTS, report
from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods import samplers
from ddgm.core.methods.schedules import log_linear
from ddgm.core.metrics import scores as metrics
from ddgm.core.networks.denoiser import Denoiser, NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import load_prior
from ddgm.core.networks.tiling import TiledDenoiser, tile_starts
from ddgm.core.projectors import projector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.phantom import neuropil
from ddgm.core.simulation.tilt_series import tilt_series

WIDTH = 1568
NOTES = """
Ticks in the pictures are the tiles' borders. `train_a` is FIB-25, mirrored to the width, and the
prior was trained on it: read its seams, not its scores.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, help="a .npy volume, (z, y, x)")
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--bumps", nargs="+", default=["floor", "box"])
    a = parser.parse_args()
    prior = load_prior("small")
    network = NetworkDenoiser(prior.network)
    ways: dict[str, Denoiser] = {
        b: TiledDenoiser(FixedBatches(network, 8), bump=b) for b in a.bumps
    }
    ways["untiled"] = network
    volumes = {"phantom": neuropil((128, WIDTH, 8), seed=11)}
    if a.real:
        volumes[a.real.stem] = mirrored(np.load(a.real, mmap_mode="r", allow_pickle=False))
    rows = []
    for name, grey in volumes.items():
        stack = np.moveaxis(grey, 2, 0)[: a.slices].astype(np.float32)
        truth = torch.from_numpy(prior.card.intensity.normalised(stack))
        pictures = {way: reconstruct(truth, denoise) for way, denoise in ways.items()}
        own = metrics.seam_energy(truth)
        for way, x in pictures.items():
            seam = metrics.seam_energy(x) / own
            rows.append(
                {
                    "volume": name,
                    "denoiser": way,
                    "seam energy": float(seam.mean()),
                    "by slice": ", ".join(f"{s:.3f}" for s in seam),
                    "MSE": float(metrics.mse(x, truth).mean()),
                    "SSIM": float(metrics.ssim(x, truth).mean()),
                }
            )
        picture(name, {**pictures, "truth": truth})
    report(
        "seams", f"Seams: {a.slices} slices of 128 x {WIDTH}, lateral, N = 50, K = 25", rows, NOTES
    )


def mirrored(volume: np.ndarray) -> np.ndarray:
    """The first 128 planes, continued by reflection along y to the width."""
    y = np.arange(WIDTH) % (2 * volume.shape[1])
    return np.asarray(volume[:128, :, :])[:, np.minimum(y, 2 * volume.shape[1] - 1 - y)]


@torch.inference_mode()
def reconstruct(truth: torch.Tensor, denoise: Denoiser) -> torch.Tensor:
    """Simulate and reconstruct, with the same noise for every denoiser."""
    p = projector(TiltGeometry.uniform(truth.shape[1], truth.shape[2], detector="lateral"))
    origins = numbered_origins(len(truth))
    y = tilt_series(p.forward, truth, paper.TILT_NOISE, 0, origins)
    field, shape = NoiseField(0, "sampler"), tuple(truth.shape[1:])
    step = paper.STEP / p.norm**2
    sigmas = log_linear(*paper.SIGMA, paper.STEPS)
    return samplers.ddgm(
        p, y, denoise, lambda n: field.batch(shape, origins, n), sigmas, step, paper.GRADIENT_STEPS
    )


def picture(name: str, images: dict[str, torch.Tensor]) -> None:
    """The first slice of each, one above the other; ticks at the tiles' borders."""
    figure, axes = plt.subplots(len(images), 1, figsize=(16, 1.7 * len(images)))
    for axis, (title, x) in zip(axes, images.items(), strict=True):
        axis.imshow(x[0], cmap="gray", vmin=-2, vmax=2)
        axis.set(
            yticks=[],
            xticks=sorted({b for s in tile_starts(WIDTH, 128, 96) for b in (s, s + 128)}),
            xticklabels=[],
        )
        axis.set_ylabel(title)
    figure.tight_layout()
    figure.savefig(RESULTS / f"seams-{name}.png", dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
