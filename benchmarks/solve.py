"""The whole solve, ours against what a user would write, and where its time goes.

    python -m benchmarks.solve [--weights full --batch 64 --slices 16]

128 × 1568 slices of the phantom, lateral detector, N = 50 noise levels, K = 25 gradient steps. A
noise level costs the same as any other, so ours are timed over `--levels` of them and the page's
version over one (it takes minutes a slice); quality is that of all 50. DDX is our fastest method,
timed whole. deepinv's methods are timed over two of their steps, where it is installed. On a GPU
the page's version is left out: it needs ASTRA on a CPU.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import medians, on_this_device, report, synchronised
from benchmarks.network import SIDE, product
from benchmarks.rivals import Astra, deepinv, from_the_page
from ddgm.core import paper
from ddgm.core.device import default_device
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods import samplers
from ddgm.core.methods.schedules import log_linear
from ddgm.core.metrics import scores as metrics
from ddgm.core.networks.denoiser import NetworkDenoiser, Precision
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import Prior, load_prior
from ddgm.core.networks.tiling import RowDenoiser, TiledDenoiser
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.projectors import FourierProjector
from ddgm.core.simulation.noise import NoiseField, SliceOrigin, numbered_origins
from ddgm.core.simulation.phantom import neuropil
from ddgm.core.simulation.tilt_series import tilt_series
from ddgm.core.training.fit import multiply_adds

THICKNESS, WIDTH, PATCHES = 128, 1568, 16
N, K = paper.STEPS, paper.GRADIENT_STEPS
DDX = 5, 10  # evaluations; at 5 it is better than DDGM at 50 (docs/results/paper.md)
DEEPINV: dict[Literal["DPS", "DiffPIR"], int] = {"DPS": 1000, "DiffPIR": 50}
TIMED = 2  # of deepinv's steps
DDX_SIGMA, RHO, KAPPA = (2.0, 0.1), 15.0, 2.0  # its best values there
PIXELS = THICKNESS * WIDTH
Tiled = TiledDenoiser | RowDenoiser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--batch", type=int, default=8, help="patches to a call of the network")
    parser.add_argument("--slices", type=int, default=8, help="at once")
    parser.add_argument("--levels", type=int, default=3, help="noise levels that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-quality", action="store_true", help="leave out all that takes hours")
    a = parser.parse_args()
    keep_freed_memory()
    case = make_case(a.weights, a.slices, default_device())
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    if case.device.type == "cuda":
        precisions = ("bfloat16", "float8")
    ways: dict[str, Tiled] = {p: tiled(case, p, a.batch) for p in precisions}
    best = ways[precisions[-1]]
    if case.device.type == "cpu":
        multiple = case.prior.card.architecture.multiple
        ways["bfloat16, whole rows"] = RowDenoiser(
            FixedBatches(NetworkDenoiser(case.prior.network, "bfloat16"), 1), multiple
        )
    jobs = {
        f"ours, {p}": Timing(lambda d=d: ours(case, d, a.levels), N / (a.levels * a.slices), N)
        for p, d in ways.items()
    }
    for n in DDX:
        name = f"ours, {precisions[-1]}, DDX, N = {n}"
        jobs[name] = Timing(lambda n=n: ddx(case, best, n), 1 / a.slices)
    if case.device.type == "cpu":
        jobs |= rivals(case, best)
    roofline = synchronised(product("bfloat16", case.device), case.device)
    work = {k: synchronised(job.work, case.device) for k, job in jobs.items()}
    seconds = medians(work | {"roofline": roofline}, a.rounds)
    peak = SIDE[case.device.type] ** 3 / seconds["roofline"]
    rows = table(case, jobs, seconds, peak)
    for row, d in zip(rows, ways.values(), strict=False):
        row |= parts(case, d, a.levels)
    if not a.no_quality:
        solves = [*(lambda d=d: ours(case, d, N) for d in ways.values())]
        solves += [lambda n=n: ddx(case, best, n) for n in DDX]
        for row, solve in zip(rows, solves, strict=False):
            row |= quality(case, solve())
        if case.device.type == "cpu":
            rows[-1] |= quality(case, from_page(case, Astra(case.geometry), N)[None])
    report(on_this_device("solve"), title(a.weights, a.slices), rows, NOTES)


@dataclass(frozen=True)
class Timing:
    """A timed call, with the share of it that one slice takes, and its network evaluations.

    `evaluations` is 0 where the network's share of the time is of no interest.
    """

    work: Callable[[], object]
    scale: float
    evaluations: int = 0


def rivals(case: Case, denoise: Tiled) -> dict[str, Timing]:
    """The alternatives that a user would write or pick, the page's version last."""
    page, found = Astra(case.geometry), {}
    for name, steps in DEEPINV.items() if find_spec("deepinv") else ():
        found[f"deepinv {name}, {steps} steps"] = Timing(
            lambda name=name: deepinv(case.projector, case.y[:1], denoise, name, TIMED),
            steps / TIMED,
        )
    return found | {"from the page": Timing(lambda: from_page(case, page, 1), N, N)}


def table(
    case: Case, jobs: dict[str, Timing], seconds: dict[str, float], peak: float
) -> list[dict[str, Any]]:
    """Rates, shares of the roofline and, where it was timed, ratios to the page's version."""
    macs = PATCHES * multiply_adds(case.prior.card.architecture, THICKNESS)
    each = {name: seconds[name] * job.scale for name, job in jobs.items()}
    rows = []
    for name, s in each.items():
        row: dict[str, Any] = {"what": name, "s a slice": s, "Mpixel/s": PIXELS / s / 1e6}
        if jobs[name].evaluations:
            row["share of the bfloat16 roofline"] = jobs[name].evaluations * macs / s / peak
        if case.device.type == "cuda":
            row["GPU-hours a teravoxel"] = 1e12 * s / PIXELS / 3600
        if "from the page" in each:
            row["times the page's rate"] = each["from the page"] / s
        rows.append(row)
    return rows


NOTES = """
Seconds are medians of interleaved rounds, scaled to N = 50. The parts are shares of a run of their
own in which each is waited for, so that on a GPU nothing overlaps. `data step` has what is done
once for each slice, too, spread over its 50 noise levels. Quality is that of the first slice.
"""


def title(weights: str, slices: int) -> str:
    return f"The solve: 128 x 1568, N = {N}, K = {K}, lateral, `{weights}`, {slices} slices at once"


@dataclass(frozen=True)
class Case:
    """The problem that all solve."""

    prior: Prior
    device: torch.device
    geometry: TiltGeometry
    projector: FourierProjector
    truth: Tensor
    y: Tensor
    origins: list[SliceOrigin]

    @property
    def step(self) -> float:
        """λ."""
        return paper.STEP / self.projector.norm**2


def make_case(weights: str, slices: int, device: torch.device) -> Case:
    prior, geometry = (
        load_prior(weights),
        TiltGeometry.uniform(THICKNESS, WIDTH, detector="lateral"),
    )
    a = FourierProjector(geometry, device=device)
    grey = neuropil((THICKNESS, WIDTH, max(8, slices)), seed=5).astype(np.float32)
    normal = prior.card.intensity.normalised(grey)
    truth = torch.from_numpy(normal).permute(2, 0, 1)[:slices].contiguous()
    origins = numbered_origins(slices)
    y = tilt_series(a.forward, truth.to(device), paper.TILT_NOISE, 0, origins).cpu()
    return Case(prior, device, geometry, a, truth, y, origins)


def tiled(case: Case, precision: Precision, batch: int) -> TiledDenoiser:
    network = NetworkDenoiser(case.prior.network, precision, case.device)
    return TiledDenoiser(FixedBatches(network, batch), case.prior.card.patch)


@torch.inference_mode()
def ours(case: Case, denoise: Any, levels: int) -> Tensor:
    """The first noise levels of a solve; all where `levels` is N."""
    noise = NoiseField(0, "sampler").ahead((THICKNESS, WIDTH), case.origins, case.device, levels)
    sigmas = log_linear(*paper.SIGMA, N)[:levels]
    y = case.y.to(case.device)
    return samplers.ddgm(case.projector, y, denoise, noise, sigmas, case.step, K).cpu()


@torch.inference_mode()
def ddx(case: Case, denoise: Any, steps: int) -> Tensor:
    """A whole solve with exact data steps."""
    noise = NoiseField(0, "sampler").ahead((THICKNESS, WIDTH), case.origins, case.device, steps)
    sigmas = log_linear(*DDX_SIGMA, steps)
    y = case.y.to(case.device)
    return samplers.ddx(
        case.projector, y, denoise, noise, sigmas, paper.TILT_NOISE, RHO, KAPPA
    ).cpu()


def from_page(case: Case, page: Astra, levels: int) -> Tensor:
    """The same of the first slice, by the book."""
    field, network = NoiseField(0, "sampler"), case.prior.network.float().eval()
    return from_the_page(
        page,
        case.y[0],
        network,
        lambda n: field.batch((THICKNESS, WIDTH), case.origins[:1], n)[0],
        log_linear(*paper.SIGMA, N)[:levels],
        case.step,
        K,
    )


def parts(case: Case, denoise: Tiled, levels: int) -> dict[str, float]:
    """Shares of a solve's time, each part waited for."""
    spent: defaultdict[str, float] = defaultdict(float)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            start = now(case.device)
            made = work(*args)
            spent[name] += now(case.device) - start
            return made

        return run

    network = denoise.denoise
    a, field = case.projector, NoiseField(0, "sampler")
    start = now(case.device)
    y = timed("copies", lambda: case.y.to(case.device))()
    descend = timed("once", lambda: a.gradient_steps(y, case.step, K))()
    draw = timed("noise", field.ahead((THICKNESS, WIDTH), case.origins, case.device, levels))
    denoise.denoise = timed("network", network)
    blended = timed("tiles", denoise)
    descend = timed("data step", descend)
    with torch.inference_mode():
        x = torch.zeros_like(case.truth, device=case.device)
        for n, sigma in enumerate(log_linear(*paper.SIGMA, N)[:levels]):
            x = descend(x)
            x = x + sigma * draw(n)
            x = x - sigma * blended(x[:, None])[:, 0]
        timed("copies", x.cpu)()
    total = now(case.device) - start
    denoise.denoise = network
    for once in ("once", "copies"):  # as in a solve of N levels
        total -= spent[once] * (1 - levels / N)
        spent[once] *= levels / N
    shares = {
        "network": spent["network"],
        "gather and blend": spent["tiles"] - spent["network"],
        "data step": spent["data step"] + spent["once"],
        "noise": spent["noise"],
        "copies": spent["copies"],
    }
    shares["rest"] = total - sum(shares.values())
    return {f"{k}, %": 100 * s / total for k, s in shares.items()}


def now(device: torch.device) -> float:
    """Seconds, once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def quality(case: Case, x: Tensor) -> dict[str, float]:
    truth = case.truth[: len(x)]
    return {
        "MSE": float(metrics.mse(x, truth).mean()),
        "SSIM": float(metrics.ssim(x, truth).mean()),
    }


if __name__ == "__main__":
    main()
