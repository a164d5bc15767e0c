"""Planes in turn: one stack of real EM, each method with and without the plane across the beam.

    python -m benchmarks.quality.volumes fib25/heldout.npy --part test
    python -m benchmarks.quality.volumes fib25/heldout.npy --part validation ddx:steps=10:rho=25
    python -m benchmarks.quality.volumes fib25/heldout.npy --part test --picture
    python -m benchmarks.quality.volumes fib25/heldout.npy restore --restorer restore-lateral
    python -m benchmarks.quality.volumes fib25/heldout.npy restore:passes=3 \
      --restorer unrolled-lateral --noise 8.2 --views 64 --degrees 50 --precision bfloat16

The tilt axis is x, the thickness z, the width y; with a restorer, which is for slices of a
thickness of 128, the tilt axis is z, the thickness y and the width x, and the files have other
names. Other tilts than the paper's may be given to any restorer: what becomes of them is the
question. What is measured is kept by method in the JSON file, and not measured again. A stack cut
into two blocks is joined as a run joins it, for each halo; the join's jump is over the mean jump
between slices elsewhere, over the truth's own.
"""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from benchmarks.common import RESULTS, report
from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.method import Method, Problem
from ddgm.core.metrics import scores
from ddgm.core.metrics.volumes import steps
from ddgm.core.networks.denoiser import Precision
from ddgm.core.networks.prior import load_prior
from ddgm.core.networks.restorer import check_restorer, load_restorer, restorer_card
from ddgm.core.projectors import projector
from ddgm.core.projectors.batched import BatchedProjector
from ddgm.core.simulation.noise import NoiseField, numbered_origins
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.pipeline.block.denoising import slice_denoiser
from ddgm.pipeline.evaluation.methods import parse_method
from ddgm.pipeline.spec.model import PriorSpec

SIDE = 128  # slices, and pixels of width
NOTES = """
`neighbours` is the mean difference between neighbouring slices over the truth's: 1 is right, below
it the volume is smoother along the tilt axis than tissue. `join` is the jump in the middle of the
stack over the mean of the eight beside it, over the truth's own: where the stack is cut into two
blocks there, compare it with that of the stack in one piece.
"""
PARTS = {"validation": slice(0, 78), "test": slice(78, 156)}
METHODS = [
    f"ddx:steps={steps}:rho={rho}{planes}{coarse}"
    for steps, rho in ((10, 15), (20, 10))
    for coarse in ("", ":gamma=10")
    for planes in ("", ":planes=alternate")
]
PICTURED = {
    "slices alone": "ddx:steps=10:rho=15",
    "planes in turn, γ = 10": "ddx:steps=10:rho=15:gamma=10:planes=alternate",
}
VIEWS = {"slice": (0, 1, 2), "across": (1, 0, 2), "along": (2, 0, 1)}  # planes, as axes of a stack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path, help="a .npy volume, (z, y, x), not trained on")
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--part", choices=PARTS, default="validation")
    parser.add_argument("--prior", default="small", help="by name or path")
    parser.add_argument("--restorer", help="by name or path")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--views", type=int, default=paper.VIEWS)
    parser.add_argument("--degrees", type=float, default=paper.TILT_RANGE[1], help="either way")
    parser.add_argument("--noise", type=float, default=paper.TILT_NOISE)
    parser.add_argument("--halos", nargs="*", type=int, default=[])
    parser.add_argument("--picture", action="store_true", help="draw three planes, and no table")
    a = parser.parse_args()
    grey = np.load(a.array, mmap_mode="r", allow_pickle=False)[PARTS[a.part]]
    grey = np.asarray(grey[:, :SIDE, :SIDE])
    bench = Bench(grey if a.restorer else np.moveaxis(grey, 2, 0), a)
    part = f"restored-{a.part}" if a.restorer else a.part
    if a.picture:
        picture(bench, RESULTS / f"volumes-{part}.png")
        return
    kept = RESULTS / f"volumes-{part}.json"
    rows = json.loads(kept.read_text())["rows"] if kept.is_file() else []
    for text in a.methods or METHODS:
        bench.check(parse_method(text))
        for halo in [None, *a.halos]:
            key = text if halo is None else f"{text}, two blocks, halo {halo}"
            key += "".join(f", {said}" for said in bench.others)
            if key not in {row["method"] for row in rows}:
                rows.append({"method": key, **bench.measured(parse_method(text), halo)})
                print(rows[-1], flush=True)
                title = f"Planes in turn: {a.array.name}, {a.part}, {bench.shape}, lateral"
                report(f"volumes-{part}", title, rows, NOTES)


class Bench:
    """One stack, its tilts, the prior, and perhaps a network that restores such slices."""

    def __init__(self, grey: np.ndarray, a: Namespace) -> None:
        self.prior, self.noise, self.restorer = load_prior(a.prior), a.noise, a.restorer
        stack = grey.astype(np.float32)
        self.truth = torch.from_numpy(self.prior.card.intensity.normalised(stack))
        n, thickness, width = self.truth.shape
        self.shape = f"{n} slices of {thickness} x {width}"
        degrees = -a.degrees, a.degrees
        tilts = TiltGeometry.uniform(thickness, width, a.views, degrees, "lateral")
        self.a = BatchedProjector(projector(tilts), 8)
        self.origins = numbered_origins(n)
        self.y = tilt_series(self.a.forward, self.truth, self.noise, 0, self.origins)
        spec = PriorSpec(precision=a.precision, batch=8)
        self.denoise = slice_denoiser(self.prior, spec, torch.device("cpu"))
        self.restore = None
        if a.restorer is not None:
            self.restore = slice_denoiser(load_restorer(a.restorer), spec, torch.device("cpu"))
        said = {
            Path(a.prior).stem: a.prior != "small",
            Path(a.restorer or "").stem: a.restorer not in (None, "restore-lateral"),
            a.precision: a.precision != "float32",
            f"noise {a.noise:g}": a.noise != paper.TILT_NOISE,
            f"{a.views} views": a.views != paper.VIEWS,
            f"±{a.degrees:g}°": a.degrees != paper.TILT_RANGE[1],
        }
        self.others = [words for words, other in said.items() if other]

    def check(self, method: Method) -> None:
        """Refuse passes, channels or a prior that the restorer was not trained for."""
        if "restorer" in method.networks:
            card = restorer_card(self.restorer)
            tilts, passes = card.restores, method.passes_of_restorer
            assert tilts is not None
            own = tilts.geometry, tilts.tilt_noise
            channels = method.channels_of_restorer
            check_restorer(self.restorer, card, self.prior.card, *own, passes, channels)

    @torch.inference_mode()
    def solve(self, method: Method, first: int, last: int) -> Tensor:
        """Slices from first to last, solved as one stack."""
        field, origins = NoiseField(0, "sampler"), self.origins[first:last]
        shape = tuple(self.truth.shape[1:])

        def noise(n: int) -> Tensor:
            return field.batch(shape, origins, n)

        y = self.y[first:last]
        problem = Problem(self.a, y, self.denoise, noise, self.noise, restore=self.restore)
        return method.sample(problem)[0]

    def measured(self, method: Method, halo: int | None) -> dict[str, object]:
        """Scores of a method on the whole stack, or on two blocks with a halo."""
        n = len(self.truth)
        if halo is None:
            x = self.solve(method, 0, n)
        else:
            left = self.solve(method, 0, n // 2 + halo)[: n // 2]
            right = self.solve(method, n // 2 - halo, n)[halo:]
            x = torch.cat([left, right])
        ssim = {
            f"SSIM {view}": float(scores.ssim(*(v.permute(axes) for v in (x, self.truth))).mean())
            for view, axes in VIEWS.items()
        }
        return {
            "MSE": float(scores.mse(x, self.truth).mean()),
            **ssim,
            "neighbours": float(steps(x).mean() / steps(self.truth).mean()),
            "join": float(join(x) / join(self.truth)),
        }


def join(x: Tensor) -> Tensor:
    """The jump at the middle of a stack over the mean of the eight jumps beside it."""
    found, middle = steps(x), len(x) // 2 - 1
    beside = torch.cat([found[middle - 4 : middle], found[middle + 1 : middle + 5]])
    return found[middle] / beside.mean()


def picture(bench: Bench, path: Path) -> None:
    """The three planes through the middle: truth, slices alone, planes in turn."""
    n = len(bench.truth)
    stacks = {"truth": bench.truth}
    stacks |= {name: bench.solve(parse_method(text), 0, n) for name, text in PICTURED.items()}
    figure, axes = plt.subplots(len(VIEWS), len(stacks), figsize=(10, 9), layout="constrained")
    for row, (view, order) in zip(axes, VIEWS.items(), strict=True):
        for axis, (name, stack) in zip(row, stacks.items(), strict=True):
            images = stack.permute(order)
            axis.imshow(images[len(images) // 2], cmap="gray", vmin=-2, vmax=2)
            axis.set(title=name, xticks=[], yticks=[])
        row[0].set_ylabel(view)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
