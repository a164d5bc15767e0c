"""`matrix` against `fourier` on one lateral geometry: agreement, and time for K gradient steps.

python -m benchmarks.projectors
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.common import medians, report
from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods import samplers
from ddgm.core.methods.schedules import log_linear
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import Prior, load_prior
from ddgm.core.networks.tiling import TiledDenoiser
from ddgm.core.projectors import FourierProjector, MatrixProjector, Projector
from ddgm.core.simulation.noise import NoiseField, SliceOrigin, numbered_origins
from ddgm.core.simulation.phantom import neuropil
from ddgm.core.simulation.tilt_series import tilt_series

MARGIN = 128
NOTES = """
`matrix` continues the slab by zeros at its lateral edges, `fourier` periodically: the difference
is largest there and reaches inward with the number of steps. That of one application of K steps is
on noisy data from zero, where the edges carry most. The forward difference is ASTRA's float32
placing of rays on a wide slab; on narrow slabs it is 1e-6
(tests/ddgm_core/projectors/test_projectors.py).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1568)
    parser.add_argument("--slices", type=int, default=8, help="in a batch")
    parser.add_argument("--steps", type=int, default=25, help="K")
    a = parser.parse_args()
    g = TiltGeometry.uniform(128, a.width, detector="lateral")
    both: dict[str, Projector] = {"matrix": MatrixProjector(g), "fourier": FourierProjector(g)}
    prior = load_prior("small")
    grey = neuropil((128, a.width, max(8, a.slices)), seed=5).astype(np.float32)
    truth = torch.from_numpy(prior.card.intensity.normalised(grey))
    truth = truth.permute(2, 0, 1)[: a.slices].contiguous()
    step = paper.STEP / both["fourier"].norm ** 2
    origins = numbered_origins(a.slices)
    clean = both["matrix"].forward(truth)
    y = tilt_series(lambda _: clean, truth, paper.TILT_NOISE, 0, origins)
    rows = []
    with torch.inference_mode():
        maps = {k: p.gradient_steps(y, step, a.steps) for k, p in both.items()}
        x = torch.zeros_like(truth)
        seconds = medians({k: lambda m=m: m(x) for k, m in maps.items()})
        forward = both["fourier"].forward(truth)
        one = {k: m(x) for k, m in maps.items()}
        rows.append(
            {
                "what": f"K = {a.steps} steps, s",
                **seconds,
                "ratio": seconds["matrix"] / seconds["fourier"],
            }
        )
        rows.append({"what": "‖A‖₂", **{k: p.norm for k, p in both.items()}})
        rows.append({"what": "forward, relative difference", "ratio": relative(forward, clean)})
        rows.append(
            {"what": "K steps, all columns", "ratio": relative(one["fourier"], one["matrix"])}
        )
        rows.append(
            {
                "what": f"K steps, {MARGIN} columns off each edge",
                "ratio": relative(inner(one["fourier"]), inner(one["matrix"])),
            }
        )
        results = {
            k: reconstruct(p, y[:2], prior, step, a.steps, origins[:2]) for k, p in both.items()
        }
    for k, margin in (("all columns", 0), (f"{MARGIN} columns off each edge", MARGIN)):
        f, m = (inner(results[n], margin) for n in ("fourier", "matrix"))
        rows.append({"what": f"DDGM N = 50, {k}, RMS difference", "ratio": relative(f, m)})
    rows.append(
        {
            "what": "DDGM MSE to the truth",
            **{k: float((r - truth[:2]).square().mean()) for k, r in results.items()},
        }
    )
    report(
        "projectors",
        f"Projectors: 128 x {a.width}, lateral, {a.slices} slices a batch",
        rows,
        NOTES,
    )


def reconstruct(
    p: Projector, y: torch.Tensor, prior: Prior, step: float, k: int, origins: list[SliceOrigin]
) -> torch.Tensor:
    """DDGM with the same noise, whichever projector."""
    field = NoiseField(0, "sampler")
    shape = p.geometry.thickness, p.geometry.width
    denoise = TiledDenoiser(FixedBatches(NetworkDenoiser(prior.network), 8), prior.card.patch)
    sigmas = log_linear(*paper.SIGMA, 50)
    return samplers.ddgm(p, y, denoise, lambda n: field.batch(shape, origins, n), sigmas, step, k)


def inner(x: torch.Tensor, margin: int = MARGIN) -> torch.Tensor:
    return x[..., margin : x.shape[-1] - margin]


def relative(x: torch.Tensor, reference: torch.Tensor) -> float:
    """RMS of the difference over RMS of the reference."""
    return float((x - reference).norm() / reference.norm())


if __name__ == "__main__":
    main()
