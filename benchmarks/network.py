"""The network's own rate: bare, over tiles, and as other programs run it, against the roofline.

    python -m benchmarks.network [--weights full] [--batch 64]

Bare is the network in a loop of full batches; the roofline is the rate of a large matrix product in
the same dtype on the same device (float8: bfloat16's). Tiled is the blended denoiser on slices of
128 × 1568, 16 patches each. `patch by patch` is how chunkflow runs a network over an image: one
patch after the other, float32, weighted by the bump.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import medians, on_this_device, report, synchronised
from benchmarks.rivals import patch_by_patch
from ddgm.core.device import default_device
from ddgm.core.networks.denoiser import NetworkDenoiser, Precision
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import Prior, load_prior
from ddgm.core.networks.tiling import RowDenoiser, TiledDenoiser
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.training.fit import multiply_adds

THICKNESS, WIDTH, PATCHES = 128, 1568, 16
SIDE = {"cpu": 4096, "cuda": 8192}  # of the matrices whose product is the roofline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--batch", type=int, default=8, help="patches to a call; 64 on a GPU")
    parser.add_argument("--slices", type=int, default=2, help="of 128 x 1568, to a tiled call")
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    keep_freed_memory()
    prior, device = load_prior(a.weights), default_device()
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    if device.type == "cuda":
        precisions = (*precisions, "float8")
    work: dict[str, Callable[[], object]] = {}
    for precision in precisions:
        work |= ours(prior, precision, a.batch, a.slices, device)
        work[f"roofline {precision}"] = product(precision, device)
    work |= rivals(prior, a.batch, device)
    seconds = medians({k: synchronised(w, device) for k, w in work.items()}, a.rounds)
    rows = table(seconds, prior, precisions, a.batch, a.slices)
    report(
        on_this_device("network"),
        f"The network `{a.weights}`: batches of {a.batch}",
        rows,
        f"Medians of {a.rounds} interleaved rounds. Multiply-adds of a patch: "
        f"{multiply_adds(prior.card.architecture, 128) / 1e9:.2f} G, of its convolutions alone.",
    )


def ours(
    prior: Prior, precision: Precision, batch: int, slices: int, device: torch.device
) -> dict[str, Callable[[], object]]:
    """The network bare and over slices, tiled and by whole rows."""
    network = NetworkDenoiser(prior.network, precision, device)
    patches = torch.randn(batch, 1, prior.card.patch, prior.card.patch, device=device)
    whole = torch.randn(slices, 1, THICKNESS, WIDTH, device=device)
    tiled, rows = (
        TiledDenoiser(FixedBatches(network, batch)),
        RowDenoiser(FixedBatches(network, 1), prior.card.architecture.multiple),
    )
    return {
        f"bare {precision}": lambda: network(patches),
        f"tiled {precision}": lambda: tiled(whole),
        f"whole rows {precision}": lambda: rows(whole),
    }


def rivals(prior: Prior, batch: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """The same network as others run it."""
    network = prior.network.to(device).eval()
    one = torch.randn(1, 1, THICKNESS, WIDTH, device=device)
    patches = torch.randn(batch, 1, prior.card.patch, prior.card.patch, device=device)
    found: dict[str, Callable[[], object]] = {
        "patch by patch, float32": lambda: patch_by_patch(network, one)
    }
    if device.type == "cuda":
        found["eager PyTorch, bfloat16"] = lambda: _autocast(network, patches)
        compiled = torch.compile(network)
        found["torch.compile, bfloat16"] = lambda: _autocast(compiled, patches)
    return found


@torch.inference_mode()
def _autocast(network: Any, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        return network(x)


def product(precision: Precision, device: torch.device) -> Callable[[], object]:
    """A large matrix product."""
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    a, b = (
        torch.randn(SIDE[device.type], SIDE[device.type], device=device).to(dtype) for _ in "ab"
    )
    return lambda: a @ b


def table(
    seconds: dict[str, float],
    prior: Prior,
    precisions: tuple[Precision, ...],
    batch: int,
    slices: int,
) -> list[dict[str, Any]]:
    """Patches a second, Mpixel/s, shares of the bare rate and of the roofline."""
    macs = multiply_adds(prior.card.architecture, prior.card.patch)
    device = default_device().type
    patches = {"bare": batch, "tiled": PATCHES * slices, "whole": PATCHES * slices}
    rows = []
    for name, s in seconds.items():
        kind, _, precision = name.partition(" ")
        if kind == "roofline":
            continue
        precision = precision.split()[-1] if kind != "torch.compile," else "bfloat16"
        alone = 1 if kind == "patch" else 0
        n = patches.get(kind, PATCHES if alone else batch)
        peak = SIDE[device] ** 3 / seconds[f"roofline {precision}"]
        bare = batch / seconds[f"bare {precision}"]
        row = {
            "what": name,
            "ms a patch": 1e3 * s / n,
            "patches/s": n / s,
            "of bare": n / s / bare,
            "share of the roofline": n * macs / s / peak,
        }
        if kind in ("tiled", "whole"):
            row["Mpixel/s"] = slices * THICKNESS * WIDTH / s / 1e6
        if alone:
            row["Mpixel/s"] = THICKNESS * WIDTH / s / 1e6
        rows.append(row)
    peaks = [
        {
            "what": f"roofline {p}",
            "T multiply-adds/s": SIDE[device] ** 3 / seconds[f"roofline {p}"] / 1e12,
        }
        for p in precisions
        if p != "float8"
    ]
    return [*rows, *peaks]


if __name__ == "__main__":
    main()
