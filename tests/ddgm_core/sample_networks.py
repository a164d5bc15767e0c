"""Networks for tests."""

from __future__ import annotations

import torch

from ddgm.core.networks.unet import Architecture, UNet


def random_network(architecture: Architecture, seed: int = 0) -> UNet:
    """A network with no zero weight: untrained ones start with every residual unit silent."""
    network = UNet(architecture).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            fan_in = max(p[0].numel(), 1)
            p.copy_(torch.randn(p.shape, generator=generator) / fan_in**0.5)
    return network.requires_grad_(False)
