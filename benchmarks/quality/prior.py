"""A prior on patches nobody trained on: noise errors, DDGM against gradient descent, realism.

    python -m benchmarks.quality.prior fib25/heldout.npy

Uses the half of the array with z >= 78, which is for tests. DDGM has N = 50, K = 25; gradient
descent is scored at every K of a grid, on the same measurements, and its best is compared.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import RESULTS, report
from ddgm.core import paper
from ddgm.core.device import default_device
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.samplers import ddgm
from ddgm.core.methods.schedules import log_linear
from ddgm.core.metrics import scores as metrics
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.prior import load_prior
from ddgm.core.projectors import Projector, projector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.core.training.validation import noise_errors
from ddgm.pipeline.figures import table
from ddgm.pipeline.volumes.array import ArrayVolume
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.patches import random_patches

TEST_HALF = 78  # first z of heldout.npy's test half
GRID = (20, 40, 60, 80, 100, 120, 150, 200)
BATCH = 16
SHOWN = 6
Detector = Literal["perpendicular", "lateral"]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--patches", type=int, default=64)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float8"))
    a = parser.parse_args()
    prior = load_prior(a.weights)
    device = default_device()
    denoise = NetworkDenoiser(prior.network, a.precision, device)
    volume = ArrayVolume(str(a.array))
    half = Box((TEST_HALF, 0, 0), volume.bounds.stop)
    grey = random_patches(volume, half, prior.card.patch, a.patches, seed=0)
    truth = torch.from_numpy(prior.card.intensity.normalised(grey)).to(device)
    errors = noise_errors(denoise, truth)
    rows: list[dict[str, Any]] = [
        {"what": "noise error", "at": f"σ = {sigma:g}", "value": f"{error:.5f}"}
        for sigma, error in errors.items()
    ]
    shown: dict[str, Tensor] = {}
    for detector in ("perpendicular", "lateral"):
        scored, images = compare(denoise, truth[:, 0], detector)
        rows += scored
        shown |= images
    rows.append({"what": "network", "at": a.precision, "value": f"{seconds(denoise, truth):.4f} s"})
    name = f"prior-{Path(a.weights).stem}" + ("-float8" if a.precision == "float8" else "")
    png = table(torch.stack(list(shown.values())).cpu().numpy(), list(shown), str(a.array.name))
    (RESULTS / f"{name}-reconstructions.png").write_bytes(png)
    report(
        name,
        f"The prior `{a.weights}` on {a.patches} patches of `{a.array.name}`, z >= {TEST_HALF}",
        rows,
        f"Weights {prior.digest[:12]}…; patches at random but fixed places (seed 0), noise and "
        "sampler seed 0, σ_y = 4.1. Errors are standard errors over patches, which overlap, so "
        f"they are too small by some factor. Network: a patch, in batches of {BATCH}.",
    )


def compare(
    denoise: NetworkDenoiser, truth: Tensor, detector: Detector
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Rows of DDGM and of gradient descent at its best K, and the first slices of each."""
    thickness, width = truth.shape[1:]
    geometry = TiltGeometry.uniform(thickness, width, detector=detector)
    a = projector(geometry, device=truth.device)
    step = paper.STEP / a.norm**2
    found = [_solve(denoise, a, x, i * BATCH, step) for i, x in enumerate(truth.split(BATCH))]
    names = list(found[0])
    images = {name: torch.cat([f[name] for f in found]) for name in names}
    mse = {name: metrics.mse(x, truth) for name, x in images.items()}
    ssim = {name: metrics.ssim(x, truth) for name, x in images.items()}
    best = min(names[1:], key=lambda name: float(mse[name].mean()))
    ratio = float(mse["DDGM"].mean() / mse[best].mean())
    rows = [
        {"what": f"{detector}, {name}", "at": measure, "value": _mean(values[name])}
        for name in ("DDGM", best)
        for measure, values in (("MSE", mse), ("SSIM", ssim))
    ]
    rows.append({"what": f"{detector}, ratio of MSE", "at": "", "value": f"{ratio:.4f}"})
    pictures = {
        f"{detector},\n{name}".replace(", K", ",\nK"): images[name][:SHOWN]
        for name in (best, "DDGM")
    }
    return rows, {**pictures, "truth": truth[:SHOWN]}


def _solve(
    denoise: NetworkDenoiser, a: Projector, x: Tensor, first: int, step: float
) -> dict[str, Tensor]:
    origins = numbered_origins(len(x), first)
    y = tilt_series(a.forward, x, paper.TILT_NOISE, 0, origins)
    noise = NoiseField(0, "sampler").ahead(tuple(x.shape[1:]), origins, x.device, 50)
    found = {"DDGM": ddgm(a, y, denoise, noise, log_linear(*paper.SIGMA, 50), step, 25)}
    for k in GRID:
        found[f"gradient descent, K = {k}"] = a.gradient_steps(y, step, k)(torch.zeros_like(x))
    return found


def _mean(values: Tensor) -> str:
    return f"{values.mean():.4f} ± {values.std() / len(values) ** 0.5:.4f}"


def seconds(denoise: NetworkDenoiser, patches: Tensor) -> float:
    """Median seconds of a patch over batches."""
    times = []
    for x in patches.split(BATCH) * 3:
        start = time.perf_counter()
        denoise(x)[0, 0, 0, 0].item()  # waits for a GPU
        times.append((time.perf_counter() - start) / len(x))
    return float(np.median(times))


if __name__ == "__main__":
    main()
