"""Verdicts on the shipped prior, without truth, on what fits it and what does not.

    python -m benchmarks.quality.prior_fit fib25/heldout.npy --part test

Slices are simulated and reconstructed as in the paper's evaluation, with a lateral detector of the
slices' own reach, and every eighth view held out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import zoom

from benchmarks.common import report
from benchmarks.quality.volumes import PARTS
from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry, held_out_views
from ddgm.core.methods.method import Problem
from ddgm.core.metrics.prior_fit import PriorFit, likeness, preference
from ddgm.core.metrics.scores import data_residual, mse
from ddgm.core.metrics.tissue import load_tissue
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import load_prior
from ddgm.core.networks.tiling import TiledDenoiser
from ddgm.core.projectors import projector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.phantom import neuropil
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.pipeline.evaluation.methods import parse_method

SIDE, SLICES, EVERY = 128, 6, 8
METHODS = ["ddx:steps=10:rho=15", "gradient_descent"]
NOTES = """
`power` and `slope`: of the reconstruction in measured directions against the prior's tissue; 0.6 to
1.6 and -0.8 to 0.3 fit. `preference`: of the prior for the contrast over its inverse; 0.01 and more
fits. `residual` and `held out`: up to 2 fits. `skewness`: of details; the tissue's is 0.205.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path, help="a .npy volume, (z, y, x), not trained on")
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--part", choices=PARTS, default="validation")
    parser.add_argument("--prior", default="small", help="by name or path")
    a = parser.parse_args()
    torch.set_num_threads(1)
    card = load_prior(a.prior).card
    grey = np.load(a.array, mmap_mode="r", allow_pickle=False)[PARTS[a.part]]
    tissue = card.intensity.normalised(np.asarray(grey))
    phantom = neuropil((SIDE, SIDE, 64), seed=9).transpose(2, 0, 1)
    rows = [
        {"data": name, "method": text.split(":")[0], **judged(x, text, a.prior)}
        for text in a.methods
        for name, x in cases(tissue, card.intensity.normalised(phantom)).items()
    ]
    title = f"Does the prior fit? {a.array.name}, {a.part}, `{a.prior}`"
    report(f"prior-fit-{a.part}", title, rows, NOTES)


def cases(tissue: np.ndarray, phantom: np.ndarray) -> dict[str, np.ndarray]:
    """Stacks by what they are, (n, thickness, width), normalised."""
    z, y, x = (n // 2 for n in tissue.shape)
    twice = tissue[: 2 * z].reshape(z, 2, y, 2, x, 2).mean((1, 3, 5))
    twice = np.concatenate([twice, twice[:, ::-1]], axis=1)
    half = np.asarray(zoom(tissue[:40, :y, :x], (1, 2, 2), order=1))
    return {
        "tissue": tissue,
        "tissue, another axis": tissue.transpose(2, 1, 0),
        "phantom": phantom,
        "inverted contrast": -tissue,
        "voxels half as large": half,
        "the same, its power set right": 3 * half,
        "voxels twice as large": np.concatenate([twice, twice[:, :, ::-1]], axis=2),
        "noise alone": np.zeros_like(tissue),
        "gain 0.7": 0.7 * tissue,
        "gain 1.3": 1.3 * tissue,
    }


@torch.inference_mode()
def judged(stack: np.ndarray, text: str, prior: str) -> dict[str, Any]:
    """All that is said of some slices of a stack, reconstructed by a method."""
    picked = stack[np.linspace(2, len(stack) - 3, SLICES).astype(int)][:, :SIDE]
    truth = torch.from_numpy(np.ascontiguousarray(picked, np.float32))
    n, thickness, width = truth.shape
    whole = projector(TiltGeometry.uniform(thickness, width, detector="lateral"))
    out = list(held_out_views(whole.geometry.views, EVERY))
    kept = [v for v in range(whole.geometry.views) if v not in out]
    a, origins = projector(whole.geometry.of_views(kept)), numbered_origins(n)
    y = tilt_series(whole.forward, truth, paper.TILT_NOISE, 0, origins)
    network, field = NetworkDenoiser(load_prior(prior).network), NoiseField(0, "sampler")
    denoise = TiledDenoiser(FixedBatches(network, 8))

    def noise(k: int) -> torch.Tensor:
        return field.batch((thickness, width), origins, k)

    problem = Problem(a, y[:, kept], denoise, noise, paper.TILT_NOISE)
    found = parse_method(text).solve(problem)
    ax = whole.forward(found)
    left = (data_residual(ax[:, v], y[:, v], paper.TILT_NOISE) for v in (kept, out))
    like = likeness(found.numpy(), a.geometry.angles, paper.TILT_NOISE, load_tissue(prior))
    side = min(SIDE, width // 16 * 16)  # the network halves an image four times
    middle = found[:, None, :, (width - side) // 2 :][..., :side]
    fit = PriorFit(like, preference(network, middle), *(float(v.mean()) for v in left))
    assert like is not None
    row = {
        "fits": "no" if fit.reasons else "yes",
        "reasons": len(fit.reasons),
        "power": like.power,
        "slope": like.slope,
        "preference": fit.preference,
        "residual": fit.residual,
        "held out": fit.held_out,
        "skewness": like.skewness,
        "MSE": float(mse(found, truth).mean()),
    }
    print(text, row, flush=True)
    return row


if __name__ == "__main__":
    main()
