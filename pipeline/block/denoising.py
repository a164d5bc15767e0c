"""A prior's network over slices of any size, and whether a method can use it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ddgm.core.geometry import TiltGeometry
from ddgm.core.networks.denoiser import NO_FLOAT8, Denoiser, NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.prior import Prior, PriorCard, PriorError
from ddgm.core.networks.restorer import check_restorer, load_restorer, restorer_card
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


def slice_restorer(
    spec: Spec, device: torch.device, pooled: Callable[[Spec], Denoiser] | None = None
) -> TiledDenoiser | RowDenoiser | None:
    """The spec's network that restores, over slices of any size; None where the method has none.

    Args:
        pooled: makes a denoiser that runs the network of a spec's prior elsewhere.

    Raises:
        PriorError: there is no such network, or it does not restore.
    """
    if "restorer" not in spec.method.networks:
        return None
    p = spec.prior
    assert p.restorer is not None  # checked with the spec
    as_prior = p.model_copy(update={"weights": p.restorer, "sha256": p.restorer_sha256})
    elsewhere = pooled(spec.model_copy(update={"prior": as_prior})) if pooled else None
    restorer = load_restorer(p.restorer, p.restorer_sha256)
    return slice_denoiser(restorer, as_prior, device, elsewhere)


def check_prior(spec: Spec, card: PriorCard) -> None:
    """Refuse a network that a method cannot have for its prior.

    Raises:
        PriorError: it restores tilt series; or it sees neighbouring slices, and the method solves
            each alone, or it is to do it in float8, for which there are no such kernels.
    """
    card.check_denoises("prior.weights")
    if "denoiser" not in spec.method.networks:
        return
    if "across" not in spec.method.planes_of_levels:
        remedy = "set method.planes: alternate, or choose another prior"
        card.check_alone("prior.weights", remedy)
    if spec.prior.precision == "float8" and not card.architecture.has_kernels:
        raise PriorError(NO_FLOAT8)


def check_spec_restorer(spec: Spec, prior: PriorCard, geometry: TiltGeometry) -> None:
    """Refuse the spec's network that restores, if its method has one, where it cannot be used.

    Args:
        prior: the card of the spec's prior.
        geometry: of the tilt series.

    Raises:
        PriorError: it was trained on other tilts or images, or for other passes, or there are no
            kernels for it in float8.
    """
    if "restorer" not in spec.method.networks:
        return
    name = str(spec.prior.restorer)
    card, method = restorer_card(name), spec.method
    passes, channels = method.passes_of_restorer, method.channels_of_restorer
    check_restorer(name, card, prior, geometry, spec.tilts.noise, passes, channels)
    if spec.prior.precision == "float8" and not card.architecture.has_kernels:
        raise PriorError(f"prior.restorer: {name} runs in no float8; {NO_FLOAT8}")
