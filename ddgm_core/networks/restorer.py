"""Networks that restore one kind of tilt series: loading them, and refusing any other kind."""

from __future__ import annotations

from ddgm.core.geometry import TiltGeometry
from ddgm.core.networks.prior import (
    Prior,
    PriorCard,
    PriorError,
    load_prior,
    read_card,
    settled,
    shipped_priors,
)

FIELD = "prior.restorer"
SLIGHT = 0.001  # of the standard deviation: what a spec rounds of mean and std changes no image


def restorer_card(name: str) -> PriorCard:
    """The card of a network that restores, without its weights.

    Raises:
        PriorError: there is no such network, its file is damaged, or it denoises.
    """
    try:
        card = read_card(name)
    except PriorError as error:
        raise _renamed(error) from error
    if card.restores is None:
        ours = [n for n in shipped_priors() if read_card(n).restores is not None]
        raise PriorError(
            f"{FIELD}: {name} is a prior, which denoises and restores no tilt series; give a "
            f"network that `ddgm train` made with `restore`, or one of {', '.join(ours) or 'none'}"
        )
    return card


def settled_restorer(name: str) -> tuple[str, str]:
    """Its name or whole path, and the SHA-256 of its weights; see `prior.settled`.

    Raises:
        PriorError: there is no such network, or it denoises.
    """
    restorer_card(name)
    return settled(name)


def load_restorer(name: str, sha256: str | None = None) -> Prior:
    """A network that restores, with its card.

    Raises:
        PriorError: there is none of that name, it denoises, or its digest is not `sha256`.
    """
    restorer_card(name)
    try:
        return load_prior(name, sha256)
    except PriorError as error:
        raise _renamed(error) from error


def check_restorer(
    name: str,
    card: PriorCard,
    prior: PriorCard,
    geometry: TiltGeometry,
    tilt_noise: float,
    passes: int,
    channels: int = 1,
) -> None:
    """Refuse a network for other tilt series, or other images, than it was trained on.

    Args:
        name: of the network, for the message.
        card: its own.
        prior: of the prior, which normalises images.
        geometry: of the tilt series.
        tilt_noise: σ_y of the tilt series.
        passes: that the method makes of it.
        channels: neighbouring slices that the method gives it at once.

    Raises:
        PriorError: one of these differs; it names both values.
    """
    assert card.restores is not None
    if difference := card.restores.difference(geometry, tilt_noise):
        raise PriorError(
            f"{FIELD}: {name} was trained to restore {difference}; give one that was trained for "
            "these tilts (`ddgm train` with `restore`), or choose a method without it, as ddx"
        )
    numbers = {"passes": (card.passes, passes), "channels": (card.architecture.channels, channels)}
    for field, (trained, asked) in numbers.items():
        if trained != asked:
            raise PriorError(
                f"{FIELD}: {name} was trained for {field}: {trained}, and the method has {asked}; "
                f"set method.{field}: {trained}"
            )
    apart = max(abs(card.mean - prior.mean), abs(card.std - prior.std))
    if apart > SLIGHT * prior.std:
        raise PriorError(
            f"{FIELD}: {name} was trained on grey levels of mean {card.mean:g} and standard "
            f"deviation {card.std:g}, and prior.weights on {prior.mean:g} and {prior.std:g}; use "
            "the prior that it was begun with"
        )
    if card.voxel_size_nm != prior.voxel_size_nm:
        raise PriorError(
            f"{FIELD}: {name} was trained on voxels of {card.voxel_size_nm:g} nm, and "
            f"prior.weights on {prior.voxel_size_nm:g} nm; use the prior that it was begun with"
        )


def _renamed(error: PriorError) -> PriorError:
    said = str(error).replace("prior.weights", FIELD).replace("prior.sha256", f"{FIELD}_sha256")
    return PriorError(said)
