"""The paper's Fig. 3 (one slice, several seeds) and Fig. 8 (singular values), with our prior.

    python -m benchmarks.quality.paper fib25/heldout.npy

The slice is the first that `ddgm benchmark` draws from the half with z >= 78, with seed 0.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import RESULTS
from ddgm.core.geometry import Detector, TiltGeometry
from ddgm.core.methods.method import Problem
from ddgm.core.metrics import scores as metrics
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.projectors import FourierProjector, Spectral
from ddgm.core.projectors.dense import DenseProjector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.pipeline.evaluation.comparison_request import ComparisonRequest
from ddgm.pipeline.evaluation.methods import PRESETS
from ddgm.pipeline.figures import CLASSICAL, OURS, Curve, Plot, plots, table
from ddgm.pipeline.volumes.array import opened
from ddgm.pipeline.volumes.box import Box

FOLDER = RESULTS / "paper"
TEST_HALF = 78  # first z of heldout.npy's test half
SEEDS = 4
SHOWN = "ddgm-50", "ddx-10", "ddx-50"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array")
    a = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "singular-values.png").write_bytes(singular_values())
    (FOLDER / "seeds.png").write_bytes(seeds(a.array))


def singular_values() -> bytes:
    """Fig. 8: of a 128 × 128 slice, for both detectors."""
    curves = []
    detectors: tuple[tuple[Detector, str], ...] = ("perpendicular", CLASSICAL), ("lateral", OURS)
    for detector, colour in detectors:
        s = spectral(detector).singular_values.flatten().sort(descending=True).values.numpy()
        order = np.arange(len(s)) / len(s)
        curves.append(Curve(detector, colour, order, np.maximum(s, 1e-6)))
        share = float((s < 1 / 30).mean())
        print(f"{detector}: {s[0]:.4g} to {s[-1]:.2g}, {share:.1%} below 1/30")
    labels = ("share of singular values", "singular value")
    return plots([Plot("Singular values of A, 128 × 128", labels, curves, ("linear", "log"))])


def spectral(detector: Detector) -> Spectral:
    geometry = TiltGeometry.uniform(128, 128, detector=detector)
    return DenseProjector(geometry) if detector == "perpendicular" else FourierProjector(geometry)


def seeds(array: str) -> bytes:
    """Fig. 3: the same measurements, the sampler's noise from four seeds."""
    _, bounds = opened(array)
    request = ComparisonRequest(array, box=Box((TEST_HALF, 0, 0), bounds.stop), patches=1)
    truth, projector = request.normalised, spectral("perpendicular")
    y = tilt_series(projector.forward, truth, request.tilt_noise, 0, numbered_origins(1))
    denoise = NetworkDenoiser(request.weights.network, request.precision)

    def solved(name: str, seed: int) -> Tensor:
        field = NoiseField(seed, "sampler")

        def noise(n: int) -> Tensor:
            return field.batch((128, 128), numbered_origins(1), n)

        return PRESETS[name].solve(Problem(projector, y, denoise, noise, request.tilt_noise))

    rows, labels = [truth.expand(SEEDS, -1, -1)], ["truth"]
    for name in SHOWN:
        x = torch.cat([solved(name, seed) for seed in range(SEEDS)])
        mse = metrics.mse(x, truth.expand_as(x)).mean()
        rows.append(x)
        labels.append(f"{name}\n{mse:.4f}")
        print(f"{name}: MSE {mse:.4f}, spread {x.std(0).square().mean().sqrt():.4f}")
    return table(torch.stack(rows).numpy(), labels, "the same tilts, four seeds")


if __name__ == "__main__":
    main()
