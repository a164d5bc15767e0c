"""Speed of training on this machine, against the machine's own peak.

    python -m benchmarks.training

A step is forward, backward and update on one batch that stays; the peak is that of a large
matrix product in the same dtype. Backward passes count as two forward ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.common import medians, report
from ddgm.core.networks import unet
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.training.fit import multiply_adds
from ddgm.core.training.module import optimizer
from ddgm.core.training.recipe import Recipe

SIDE = 4096  # of the matrices whose product is the peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[32])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    a = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    keep_freed_memory()
    rows = [row for width in a.widths for row in measure(width, a.batch, a.rounds, device)]
    report(
        "training",
        f"Training throughput: batches of {a.batch} patches of 128 x 128, bfloat16",
        rows,
        f"Medians of {a.rounds} interleaved rounds. The loader's share of a real training's time "
        "is in its loss.csv (`waiting`).",
    )


def measure(width: int, batch: int, rounds: int, device: str) -> list[dict[str, Any]]:
    """Rows of one width: training with our GroupNorm and torch's, the network, the peak."""
    recipe = Recipe(Architecture(width=width), batch=batch, optimizer="muon", lr=3e-3)
    passes = {"training": 3, "training, torch's GroupNorm": 3, "forward alone": 1}
    work = {
        "training": step(recipe, device),
        "training, torch's GroupNorm": _with_norm(nn.GroupNorm, lambda: step(recipe, device)),
        "forward alone": forward(recipe, device),
        "matrix product": product(device),
    }
    seconds = medians(work, rounds)
    peak = SIDE**3 / seconds["matrix product"]
    macs = multiply_adds(recipe.architecture, recipe.patch) * batch
    rows: list[dict[str, Any]] = [
        {
            "maps": width,
            "what": name,
            "s a batch": seconds[name],
            "patches/s": batch / seconds[name],
            "G multiply-adds/s": n * macs / seconds[name] / 1e9,
            "share of the peak": n * macs / seconds[name] / peak,
        }
        for name, n in passes.items()
    ]
    return [*rows, {"maps": width, "what": "matrix product", "G multiply-adds/s": peak / 1e9}]


def step(recipe: Recipe, device: str) -> Callable[[], object]:
    """One update, on a batch that stays."""
    network = UNet(recipe.architecture).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    updates = optimizer(recipe, network)
    x = torch.randn(recipe.batch, 1, recipe.patch, recipe.patch, device=device)
    x = x.contiguous(memory_format=torch.channels_last)

    def work() -> object:
        updates.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = torch.mean((network(x) - x) ** 2)
        loss.backward()
        updates.step()
        return float(loss)

    return work


def forward(recipe: Recipe, device: str) -> Callable[[], object]:
    """The network alone, as a denoiser runs it."""
    network = UNet(recipe.architecture).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(recipe.batch, 1, recipe.patch, recipe.patch, device=device)

    def work() -> object:
        with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16):
            return float(network(x.contiguous(memory_format=torch.channels_last)).sum())

    return work


def product(device: str) -> Callable[[], object]:
    """A large matrix product in bfloat16."""
    a = torch.randn(SIDE, SIDE, device=device).bfloat16()

    def work() -> object:
        return float((a @ a)[0, 0])

    return work


def _with_norm(norm: Any, build: Callable[[], Callable[[], object]]) -> Callable[[], object]:
    """Result of `build` with another GroupNorm in its networks."""
    ours, unet.GroupNorm = unet.GroupNorm, norm
    try:
        return build()
    finally:
        unet.GroupNorm = ours


if __name__ == "__main__":
    main()
