"""The boundary network that ships: whole, small, the same in tiles, and it finds membranes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddgm.core.networks.boundary import (
    CORE,
    WEIGHTS,
    BoundaryNetwork,
    boundary_network,
    boundary_probability,
)


def test_it_ships_with_a_card_and_is_small() -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    assert "validation half" in WEIGHTS.with_suffix(".md").read_text()
    assert sum(p.numel() for p in BoundaryNetwork().parameters()) == 198_865


def test_a_dark_sheet_in_bright_tissue_is_a_membrane() -> None:
    x = 0.4 + 0.1 * torch.randn(20, 24, 22, generator=torch.Generator().manual_seed(0))
    x[:, 11:13] = -2.0  # two voxels thick
    found = boundary_probability(boundary_network(), x)
    assert found.shape == x.shape
    assert float(found[:, 11:13].mean()) > 4 * float(found[:, 3:8].mean())


class Mean(nn.Module):
    """Means of 9 voxels a side, which is less than a tile sees."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool3d(x, 9, 1, 4, count_include_pad=False)


def test_tiles_leave_no_trace() -> None:
    x = torch.randn(12, 12, CORE + 40, generator=torch.Generator().manual_seed(0))
    whole = torch.sigmoid(Mean()(x[None, None])[0, 0])
    assert torch.allclose(boundary_probability(Mean(), x), whole, atol=1e-6)
