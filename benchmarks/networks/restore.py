"""A slice of 128 × 1568 by methods with a learned start, beside DDX with ten evaluations.

    python -m benchmarks.networks.restore restore-lateral unrolled-lateral

Each network restores the paper's tilts with a lateral detector; the passes are those of its card.
All solve the same slices in one run, with `small` as the prior. On a GPU the command is the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from benchmarks.common import medians, on_this_device, report, synchronised
from benchmarks.solve import PIXELS, THICKNESS, WIDTH, Case, make_case
from ddgm.core import paper
from ddgm.core.device import default_device
from ddgm.core.methods.diffusion import Ddx
from ddgm.core.methods.method import Method, Problem
from ddgm.core.methods.restoration import Restore
from ddgm.core.networks.denoiser import Denoiser, Precision
from ddgm.core.networks.prior import Prior
from ddgm.core.networks.restorer import check_restorer, load_restorer
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.simulation.noise import NoiseField
from ddgm.pipeline.block.denoising import slice_denoiser
from ddgm.pipeline.spec.model import PriorSpec

DDX = Ddx(steps=10, rho=15.0)
LEVELS = Ddx(start="restored", steps=2, sigma=(0.3, 0.1), rho=30.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("restorers", nargs="+")
    parser.add_argument("--weights", default="small", help="of the prior")
    parser.add_argument("--batch", type=int, default=8, help="patches to a call; 64 on a GPU")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--slices", type=int, default=4, help="at once")
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    keep_freed_memory()
    case, device = make_case(a.weights, a.slices, default_device()), default_device()
    learned = {name: load_restorer(name) for name in a.restorers}
    noise = paper.TILT_NOISE
    for name, r in learned.items():
        check_restorer(name, r.card, case.prior.card, case.geometry, noise, r.card.passes)
    work, evaluations = {}, {}
    for name, method, solve in jobs(case, learned, a.precision, a.batch):
        work[name], evaluations[name] = synchronised(solve, device), method.evaluations
    seconds = medians(work, a.rounds)
    rows = [
        {
            "what": name,
            "evaluations": evaluations[name],
            "s a slice": s / a.slices,
            "Mvoxel/s": PIXELS * a.slices / s / 1e6,
        }
        for name, s in seconds.items()
    ]
    title = f"A learned start: 128 x 1568, lateral, {a.precision}, {a.slices} slices at once"
    report(on_this_device("restore"), title, rows, f"Medians of {a.rounds} interleaved rounds.")


def jobs(
    case: Case, learned: dict[str, Prior], precision: Precision, batch: int
) -> Iterator[tuple[str, Method, Callable[[], Tensor]]]:
    """Solves by name, with their method."""
    tilings: tuple[Literal["tiles", "rows"], ...] = ("tiles", "rows")
    for way in tilings:
        network_spec = PriorSpec(precision=precision, tiling=way, batch=batch)
        prior = slice_denoiser(case.prior, network_spec, case.device)
        yield f"DDX, N = 10, {way}", DDX, solving(case, DDX, prior, None)
        for name, r in learned.items():
            network = slice_denoiser(r, network_spec, case.device)
            passes = r.card.passes
            alone = Restore(passes=passes)
            yield f"{name}, {way}", alone, solving(case, alone, prior, network)
            more = replace(LEVELS, passes=passes)
            yield f"{name}, then DDX, N = 2, {way}", more, solving(case, more, prior, network)


def solving(
    case: Case, method: Method, denoise: Denoiser, restore: Denoiser | None
) -> Callable[[], Tensor]:
    """A whole solve of the case's slices."""

    @torch.inference_mode()
    def solve() -> Tensor:
        field = NoiseField(0, "sampler")
        levels = max(method.draws, 1)
        noise = field.ahead((THICKNESS, WIDTH), case.origins, case.device, levels)
        y, sigma = case.y.to(case.device), paper.TILT_NOISE
        return method.solve(
            Problem(case.projector, y, denoise, noise, sigma, restore=restore)
        ).cpu()

    return solve


if __name__ == "__main__":
    main()
