"""A prior's network over slices of any size, and whether a method can use it."""

from __future__ import annotations

import torch

from ddgm.core.networks.denoiser import Denoiser, NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import Prior, PriorCard, PriorError
from ddgm.core.networks.tiling import RowDenoiser, TiledDenoiser
from ddgm.pipeline.spec.model import PriorSpec, Spec


def slice_denoiser(
    prior: Prior, spec: PriorSpec, device: torch.device, pooled: Denoiser | None = None
) -> TiledDenoiser | RowDenoiser:
    """A prior's network over slices of any size, as the spec wants it run.

    Args:
        pooled: who runs the network instead of this process; it makes batches itself.

    Raises:
        PriorError: tiles that would leave gaps.
    """
    card = prior.card
    network = pooled or FixedBatches(
        NetworkDenoiser(prior.network, spec.precision, device), spec.images_per_call
    )
    if spec.tiling == "rows":
        return RowDenoiser(network, card.architecture.multiple, card.architecture.channels)
    if spec.stride > card.patch:
        raise PriorError(
            f"prior.stride: {spec.stride} is more than the prior's patch, {card.patch}; tiles must "
            "overlap or touch"
        )
    channels = card.architecture.channels
    return TiledDenoiser(network, card.patch, spec.stride, spec.bump, channels)


def check_neighbours(spec: Spec, card: PriorCard) -> None:
    """Refuse a prior that sees neighbouring slices for a method that solves each alone.

    Raises:
        PriorError: it does, or is to do it in float8, for which there are no such kernels.
    """
    if not spec.method.evaluations:
        return
    if not spec.method.couples_slices:
        remedy = "set method.planes: alternate, or choose another prior"
        card.check_alone("prior.weights", remedy)
    if card.architecture.channels > 1 and spec.prior.precision == "float8":
        raise PriorError(
            "prior.precision: float8 is for networks that see one slice, and the prior's sees "
            f"{card.architecture.channels}; use bfloat16"
        )
