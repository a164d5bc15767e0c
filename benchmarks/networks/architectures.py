"""What a patch costs by architecture, and what its time goes into.

    python -m benchmarks.networks.architectures [--batch 8]

`unshuffle` is the side of the squares of pixels that a network takes as channels. Shares are of the
time that PyTorch's profiler gives each kind of operator; a cast, or a move, is among the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import medians, report, synchronised
from ddgm.core.device import default_device
from ddgm.core.networks.denoiser import NetworkDenoiser, Precision
from ddgm.core.networks.unet import Architecture, UNet, parameter_count
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.training.fit import multiply_adds

PATCH = 128
ARCHITECTURES = {
    "small": Architecture(width=32),
    "32 maps, 2 × 2": Architecture(width=32, levels=4, unshuffle=2),
    "48 maps, 2 × 2": Architecture(width=48, levels=4, unshuffle=2),
    "64 maps, 2 × 2, 4 convolutions": Architecture(width=64, levels=4, convolutions=4, unshuffle=2),
    "64 maps, 2 × 2, 2 convolutions": Architecture(width=64, levels=4, convolutions=2, unshuffle=2),
    "96 maps, 4 × 4, 4 convolutions": Architecture(width=96, levels=3, convolutions=4, unshuffle=4),
}
KINDS = {
    "convolution": ("convolution", "conv2d"),
    "activation": ("silu",),
    "norm": ("group_norm",),
    "sums": ("aten::add",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8, help="patches to a call; 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    keep_freed_memory()
    device = default_device()
    precisions: tuple[Precision, ...] = ("bfloat16", "float32")
    work = {
        f"{name}, {precision}": call(architecture, precision, a.batch, device)
        for name, architecture in ARCHITECTURES.items()
        for precision in precisions
    }
    seconds = medians({k: synchronised(w, device) for k, w in work.items()}, a.rounds)
    rows = [
        row(
            name,
            architecture,
            p,
            seconds[f"{name}, {p}"] / a.batch,
            seconds[f"small, {p}"] / a.batch,
        )
        | shares(work[f"{name}, {p}"])
        for name, architecture in ARCHITECTURES.items()
        for p in precisions
    ]
    report(
        "architectures",
        f"Networks by architecture: batches of {a.batch} patches of 128 x 128",
        rows,
        f"Medians of {a.rounds} interleaved rounds; random weights.",
    )


def call(
    architecture: Architecture, precision: Precision, batch: int, device: torch.device
) -> Callable[[], Tensor]:
    """A network on a batch of noise."""
    denoise = NetworkDenoiser(UNet(architecture), precision, device)
    x = torch.randn(batch, 1, PATCH, PATCH, device=device)
    return lambda: denoise(x)


def row(
    name: str, architecture: Architecture, precision: Precision, seconds: float, small: float
) -> dict[str, Any]:
    """What a network is and takes, in a row of the table."""
    macs = multiply_adds(architecture, PATCH)
    return {
        "network": name,
        "precision": precision,
        "parameters": parameter_count(UNet(architecture)),
        "G multiply-adds": macs / 1e9,
        "ms a patch": 1e3 * seconds,
        "of small's time": seconds / small,
        "G multiply-adds/s": macs / seconds / 1e9,
    }


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Share of a call's time by kind of operator."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    times = {e.key: e.self_cpu_time_total for e in profiled.key_averages()}
    total = sum(times.values())
    found = {
        kind: sum(t for key, t in times.items() if any(name in key for name in names)) / total
        for kind, names in KINDS.items()
    }
    return found | {"others": 1 - sum(found.values())}


if __name__ == "__main__":
    main()
