"""What a training begins with: weights of another prior, and neighbours ignored at first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddgm.core.networks.prior import Prior, PriorCard, PriorError
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.core.training.start import begin_with
from tests.ddgm_core.sample_networks import random_network

NARROW = Architecture(width=8, levels=2, convolutions=2)
WIDE = Architecture(width=8, levels=2, convolutions=2, channels=3)


def prior(architecture: Architecture) -> Prior:
    card = PriorCard(architecture, mean=0.0, std=1.0, voxel_size_nm=16.0, patch=16)
    return Prior(random_network(architecture), card, "0" * 64)


def test_neighbours_are_ignored_at_first() -> None:
    start, network = prior(NARROW), UNet(WIDE)
    begin_with(network, start)
    x = torch.randn(2, 3, 16, 16)
    x = x / x.std(dim=(2, 3), keepdim=True)  # or the two would divide by different numbers
    x = x - x.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(network(x), start.network(x[:, 1:2]), atol=0.01)  # of 256 pixels or 768
    for name, kept in start.network.state_dict().items():
        assert name == "stem.weight" or torch.equal(network.state_dict()[name], kept)


def test_neighbours_of_squares_of_pixels_are_ignored_at_first() -> None:
    """The channels of an image's pixels lie side by side."""
    start = prior(replace(NARROW, unshuffle=2))
    network = UNet(replace(WIDE, unshuffle=2))
    begin_with(network, start)
    x = torch.randn(2, 3, 16, 16)
    x = x / x.std(dim=(2, 3), keepdim=True)
    x = x - x.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(network(x), start.network(x[:, 1:2]), atol=0.01)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (NARROW, Architecture(width=16, levels=2, convolutions=2)),
        (WIDE, NARROW),
        (NARROW, replace(NARROW, unshuffle=2)),
    ],
    ids=["another width", "fewer channels", "squares of pixels"],
)
def test_another_network_is_refused(theirs: Architecture, ours: Architecture) -> None:
    with pytest.raises(PriorError, match="they may differ in channels only"):
        begin_with(UNet(ours), prior(theirs))
