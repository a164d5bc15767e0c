"""A small network that finds membranes in tissue, for scores alone: no result depends on it."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).with_name("boundary.safetensors")
WIDTH = 12  # feature maps at the finest of three levels
MULTIPLE = 4  # of voxels a side, which the levels halve twice
CORE, MARGIN = 96, 16  # voxels a side of a tile's own part, and what it sees around that


class BoundaryNetwork(nn.Module):
    """A U-Net in three dimensions, 198,865 numbers: (B, 1, Z, Y, X) → logits of the same shape.

    Images are normalised, and sides multiples of 4 voxels. It is trained in all orientations.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList([_block(1, w), _block(w, 2 * w), _block(2 * w, 4 * w)])
        self.up = nn.ModuleList([_block(6 * w, 2 * w), _block(3 * w, w)])
        self.head = nn.Conv3d(w, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down[0](x)
        middle = self.down[1](F.avg_pool3d(fine, 2))
        coarse = self.down[2](F.avg_pool3d(middle, 2))
        for block, skip in zip(self.up, (middle, fine), strict=True):
            coarse = block(torch.cat([skip, F.interpolate(coarse, scale_factor=2)], dim=1))
        return self.head(coarse)


def _block(before: int, after: int) -> nn.Sequential:
    first, second = nn.Conv3d(before, after, 3, padding=1), nn.Conv3d(after, after, 3, padding=1)
    return nn.Sequential(first, nn.SiLU(), second, nn.SiLU())


@cache
def boundary_network() -> BoundaryNetwork:
    """The network that ships; see boundary.md beside its weights."""
    from safetensors.torch import load_file

    network = BoundaryNetwork()
    network.load_state_dict({k: v.float() for k, v in load_file(WEIGHTS).items()})
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def boundary_probability(network: nn.Module, volume: Tensor) -> Tensor:
    """Probability of each voxel to lie on a membrane, tile by tile.

    Args:
        network: the `boundary_network`, or one like it.
        volume: normalised, (z, y, x), 16 nm a side as what it was trained on.

    Returns:
        (z, y, x).
    """
    found = torch.empty_like(volume)
    for starts in product(*(range(0, n, CORE) for n in volume.shape)):
        core = [slice(s, min(s + CORE, n)) for s, n in zip(starts, volume.shape, strict=True)]
        seen = [
            slice(max(c.start - MARGIN, 0), min(c.stop + MARGIN, n))
            for c, n in zip(core, volume.shape, strict=True)
        ]
        part = volume[tuple(seen)]
        over = [edge for n in reversed(part.shape) for edge in (0, -n % MULTIPLE)]
        logits = network(F.pad(part[None, None], over, mode="replicate"))[0, 0]
        own = [slice(c.start - s.start, c.stop - s.start) for c, s in zip(core, seen, strict=True)]
        found[tuple(core)] = torch.sigmoid(logits[tuple(own)])
    return found
