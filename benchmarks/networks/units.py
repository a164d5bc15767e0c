"""What the units cost that networks are built of: full convolutions, or depthwise ones and a gate.

    python -m benchmarks.networks.units [--maps 64]

The rival is the block of NAFNet (Chen et al., "Simple baselines for image restoration", 2022)
without its channel attention: a depthwise 3 × 3 convolution between two of 1 × 1, and two more of
1 × 1, with a product of halves in place of an activation. It has a third of the multiply-adds.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import medians, on_this_device, report, synchronised
from ddgm.core.device import default_device
from ddgm.core.networks.denoiser import NetworkDenoiser, Precision
from ddgm.core.networks.group_norm import GroupNorm
from ddgm.core.networks.unet import ResidualUnit
from ddgm.core.process_memory import keep_freed_memory

SIDE = 64  # of the maps of a patch of 128 pixels, on squares of 2 × 2
GROUPS = 8


class NafBlock(nn.Module):
    """The rival, on `maps` feature maps."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = GroupNorm(GROUPS, maps), GroupNorm(GROUPS, maps)
        self.wide1, self.wide2 = nn.Conv2d(maps, 2 * maps, 1), nn.Conv2d(maps, 2 * maps, 1)
        self.depthwise = nn.Conv2d(2 * maps, 2 * maps, 3, padding=1, groups=2 * maps)
        self.narrow1, self.narrow2 = nn.Conv2d(maps, maps, 1), nn.Conv2d(maps, maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.depthwise(self.wide1(self.norm1(x))).chunk(2, 1)
        x = x + self.narrow1(a * b)
        a, b = self.wide2(self.norm2(x)).chunk(2, 1)
        return x + self.narrow2(a * b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="patches to a call; 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=9)
    a = parser.parse_args()
    keep_freed_memory()
    device = default_device()
    x = torch.randn(a.batch, a.maps, SIDE, SIDE, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    units: dict[str, nn.Module] = {
        "two 3 × 3 convolutions (ours)": ResidualUnit(a.maps, GROUPS),
        "depthwise with a gate (NAFNet's)": NafBlock(a.maps),
    }
    precisions: tuple[Precision, ...] = ("bfloat16", "float32")
    calls = {
        (name, p): NetworkDenoiser(unit, p, device)
        for name, unit in units.items()
        for p in precisions
    }
    work = {
        f"{name}, {p}": synchronised(lambda call=call: call(x), device)
        for (name, p), call in calls.items()
    }
    seconds = medians(work, a.rounds)
    rows = []
    for name, unit in units.items():
        with FlopCounterMode(display=False) as counter:
            unit(x)
        macs = counter.get_total_flops() / 2 / a.batch
        for p in precisions:
            s = seconds[f"{name}, {p}"] / a.batch
            rows.append(
                {
                    "unit": name,
                    "precision": p,
                    "G multiply-adds": macs / 1e9,
                    "ms a patch": 1e3 * s,
                    "G multiply-adds/s": macs / s / 1e9,
                }
            )
    title = f"Units of a network: {a.maps} maps of {SIDE} x {SIDE}, batches of {a.batch}"
    notes = f"Medians of {a.rounds} interleaved rounds; random weights."
    report(on_this_device("units"), title, rows, notes)


if __name__ == "__main__":
    main()
