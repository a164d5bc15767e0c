"""The weights that a training begins with: another prior's, with room for neighbouring images."""

from __future__ import annotations

from dataclasses import replace

import torch

from ddgm.core.networks.prior import Prior, PriorError
from ddgm.core.networks.unet import UNet


def begin_with(network: UNet, prior: Prior) -> None:
    """Give a network another's weights.

    Where it sees more neighbours, those are ignored at first: the two compute the same, but for
    what the input is divided by.

    Raises:
        PriorError: the two have other numbers than that of their channels in common.
    """
    theirs, ours = prior.card.architecture, network.architecture
    if replace(theirs, channels=ours.channels) != ours or theirs.channels > ours.channels:
        raise PriorError(
            f"start: its network is {theirs}, and `network` is {ours}; they may differ in "
            "channels only, of which `network` has as many or more"
        )
    weights = prior.network.state_dict()
    wide = torch.zeros_like(network.stem.weight)
    first, pixels = (ours.channels - theirs.channels) // 2, ours.unshuffle**2
    wide[:, first * pixels : (first + theirs.channels) * pixels] = weights["stem.weight"]
    network.load_state_dict({**weights, "stem.weight": wide})
