"""Whether chains differ as much as they are wrong: samples and means of methods, with a picture.

    python -m benchmarks.quality.posterior fib25/heldout.npy --box 78:156,0:156,0:156

The slices are the first that `ddgm benchmark` draws from the box, with its tilts and noise.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.common import RESULTS
from ddgm.core.methods.method import Method, Problem
from ddgm.core.metrics.scores import mse
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.projectors.dense import DenseProjector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.pipeline.cli.options import parsed_box
from ddgm.pipeline.evaluation.comparison_request import ComparisonRequest
from ddgm.pipeline.evaluation.methods import parse_method
from ddgm.pipeline.figures import table

DRAWN = 128  # patches that the slices are the first of
BATCH = 4
FOLDER = RESULTS / "posterior"


@dataclass(frozen=True)
class Calibration:
    """Scores of M chains against truth, over all slices and pixels.

    Attributes:
        chains: M.
        sample: MSE of a chain.
        mean: MSE of the mean of M chains.
        spread: variance of the chains, over M - 1; root mean square is its root.
    """

    chains: int
    sample: float
    mean: float
    spread: float

    @classmethod
    def of(cls, x: Tensor, truth: Tensor) -> Calibration:
        """From chains (M, n, H, W) and truth (n, H, W)."""
        spread = float(x.var(0).mean()) if len(x) > 1 else float("nan")
        each = torch.stack([mse(chain, truth) for chain in x])
        return cls(len(x), float(each.mean()), float(mse(x.mean(0), truth).mean()), spread)

    @property
    def ratio(self) -> float:
        """Root mean square spread over error: 1 if truth is like one more chain.

        The mean of M chains is wrong by the posterior's variance and by 1 / M of it, so the spread
        is multiplied by the root of 1 + 1 / M.
        """
        return (self.spread * (1 + 1 / self.chains) / self.mean) ** 0.5

    def row(self, name: str) -> str:
        """A line of the table."""
        values = f"{self.sample:.4f} | {self.mean:.4f} | {self.spread**0.5:.3f} | {self.ratio:.2f}"
        return f"| {name} | {self.chains} | {values} |"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array")
    parser.add_argument("--box", required=True)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--methods", default="ddx-50:samples=2,split-gibbs:samples=8")
    a = parser.parse_args()
    torch.set_num_threads(1)
    request = ComparisonRequest(a.array, box=parsed_box(a.box), patches=DRAWN)
    truth = request.normalised[: a.slices]
    projector = DenseProjector(request.comparison.geometry(*truth.shape[1:]))
    denoise = NetworkDenoiser(request.weights.network, request.precision)
    origins = numbered_origins(len(truth))
    y = tilt_series(projector.forward, truth, request.tilt_noise, request.seed, origins)
    for text in a.methods.split(","):
        method = parse_method(text)
        field, chains = NoiseField(request.seed + method.noise_seed, "sampler"), []

        def solved(
            first: int, chain: int, method: Method = method, f: NoiseField = field
        ) -> Tensor:
            some, start = slice(first, first + BATCH), chain * method.draws

            def noise(n: int) -> Tensor:
                return f.batch(tuple(truth.shape[1:]), origins[some], start + n)

            return method.solve(Problem(projector, y[some], denoise, noise, request.tilt_noise))

        for c in range(method.chains):
            chains.append(torch.cat([solved(first, c) for first in range(0, len(truth), BATCH)]))
            print(Calibration.of(torch.stack(chains), truth).row(text), flush=True)
        x = torch.stack(chains)
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{method.name}.png").write_bytes(picture(x, truth))


def picture(x: Tensor, truth: Tensor) -> bytes:
    """Truth, two chains, their mean, spread and error of the first slices; the last two thrice."""
    mean, shown = x.mean(0), slice(0, 3)
    spread = x.std(0) if len(x) > 1 else torch.zeros_like(mean)
    dark = truth.min()  # for pictures of sizes, as black
    rows = (truth, x[0], x[-1], mean, dark + 3 * spread, dark + 3 * (mean - truth).abs())
    labels = ["truth", "a chain", "another", "mean", "spread × 3", "|error| × 3"]
    stack = torch.stack([row[shown] for row in rows]).numpy()
    return table(stack, labels, f"mean, spread and error of {len(x)} chains")


if __name__ == "__main__":
    main()
