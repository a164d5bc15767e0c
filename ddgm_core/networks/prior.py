"""Priors: trained networks with their cards, as safetensors files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ddgm.core import paper, plugins
from ddgm.core.errors import DdgmError
from ddgm.core.files import atomic_write
from ddgm.core.intensity import Intensity
from ddgm.core.networks.conditions import Conditions, conditions_of
from ddgm.core.networks.unet import Architecture, UNet

SHIPPED = Path(__file__).parents[1] / "priors"
FORMAT = "ddgm-prior-1"


class PriorError(DdgmError):
    """Weights that cannot be used as they are asked to be."""


@dataclass(frozen=True)
class PriorCard:
    """The card that is stored with the weights.

    Attributes:
        architecture: how to rebuild the network.
        mean: of the training voxels, in grey levels; images are (grey - mean) / std.
        std: of the training voxels, in grey levels.
        voxel_size_nm: side of a training voxel; tissue looks different at another one.
        patch: side of the training patches, in pixels; tiles have this size.
        sigma_range: noise levels seen in training, normalised units.
        training: data and licence, steps, batch, seed and the like, for the reader.
        restores: the tilt series that it was trained to restore; None of a denoiser.
        passes: of a network that restores: calls of it that it was trained through.
    """

    architecture: Architecture
    mean: float
    std: float
    voxel_size_nm: float
    patch: int = paper.PATCH
    sigma_range: tuple[float, float] = (0.03, 30.0)
    training: dict[str, Any] = field(default_factory=dict)
    restores: Conditions | None = None
    passes: int = 1

    @property
    def intensity(self) -> Intensity:
        """The mean and std as what normalises images."""
        return Intensity(self.mean, self.std)

    def knows(self, highest: float, lowest: float) -> bool:
        """True if the training covered all noise levels between these two."""
        low, high = self.sigma_range
        return low <= lowest <= highest <= high

    def check_denoises(self, field: str) -> None:
        """Refuse a network that restores tilt series where a prior is wanted.

        Args:
            field: that names the prior.

        Raises:
            PriorError: it is one.
        """
        if self.restores is not None:
            raise PriorError(
                f"{field}: its network restores tilt series and is no prior; give it as "
                "prior.restorer, and here the prior that it was begun with, as small"
            )

    def check_alone(self, field: str, remedy: str) -> None:
        """Refuse a prior that sees neighbouring slices where slices are denoised alone.

        Args:
            field: that names the prior.
            remedy: what to do.

        Raises:
            PriorError: it does.
        """
        if (channels := self.architecture.channels) > 1:
            raise PriorError(
                f"{field}: its network sees {channels} neighbouring slices at once, and here each "
                f"is denoised alone; {remedy}"
            )


@dataclass(frozen=True)
class Prior:
    """A trained denoiser with the numbers that normalise its images.

    Another package gives its own by the entry points `ddgm.denoisers`: a function without
    arguments that returns a `Prior`.

    Attributes:
        network: (B, channels, H, W) normalised noisy images → the noise of the middle, ε̂.
        card: its numbers; memory is planned by its architecture.
        digest: SHA-256 of the weights, which says what a result was made with.
    """

    network: nn.Module
    card: PriorCard
    digest: str


def save_prior(
    path: Path, network: UNet, card: PriorCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write weights and card as safetensors, under a temporary name until whole."""
    from safetensors.torch import save

    weights = {k: v.detach().to("cpu", dtype).contiguous() for k, v in network.state_dict().items()}
    # one key: safetensors writes several in any order, and the same weights are to be the same file
    fields = asdict(card)
    # a card is as it was before there were other networks, as long as it needs no more
    tilts, architecture = fields["restores"] or {}, fields["architecture"]
    later = (tilts, "range", None), (fields, "restores", None), (fields, "passes", 1)
    for part, name, usual in (*later, (architecture, "unshuffle", 1)):
        if part.get(name) == usual:
            part.pop(name, None)
    metadata = {"ddgm": json.dumps({"format": FORMAT, "card": fields}, sort_keys=True)}
    atomic_write(path, save(weights, metadata))


def shipped_priors() -> list[str]:
    """Names of the priors that are installed with ddgm."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def packaged_prior(prior: str) -> Prior | None:
    """Another package's prior; None where the name is that of a shipped one or of a file, or none.

    Raises:
        PluginError: the package cannot be imported, or gives something else.
    """
    ours = prior in shipped_priors() or Path(prior).expanduser().is_file()
    return None if ours or prior not in plugins.names("ddgm.denoisers") else _made_by_package(prior)


@lru_cache(maxsize=2)
def _made_by_package(prior: str) -> Prior:
    group: plugins.Group = "ddgm.denoisers"
    found = plugins.load(group, prior)()
    if not isinstance(found, Prior):
        raise plugins.PluginError(
            f"{group}: {prior} of {plugins.provider(group, prior)} returns no Prior; mend it"
        )
    return found


def settled(prior: str) -> tuple[str, str]:
    """A prior's name or whole path, by which processes in other folders find it, and its digest.

    Raises:
        PriorError: no such prior.
    """
    if (found := packaged_prior(prior)) is not None:
        return prior, found.digest
    path = weights_path(prior)
    return path.stem if path.parent == SHIPPED else str(path.absolute()), file_digest(path)


def weights_path(prior: str) -> Path:
    """Path of the weights, given the name of a shipped prior or a path.

    Raises:
        PriorError: neither a shipped prior nor a file.
    """
    shipped = SHIPPED / f"{prior}.safetensors"
    if "/" not in prior and shipped.is_file():
        return shipped
    if (path := Path(prior).expanduser()).is_file():
        return path
    names = ", ".join([*shipped_priors(), *plugins.names("ddgm.denoisers")]) or "none"
    raise PriorError(
        f"prior.weights: {prior!r} is neither a shipped prior ({names}) nor a file; "
        "give one of these names or the path of a .safetensors file"
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_card(prior: str) -> PriorCard:
    """The card of a shipped prior or of a weights file, without its weights.

    Raises:
        PriorError: no such prior, a damaged file, or a file that ddgm did not write.
    """
    if (found := packaged_prior(prior)) is not None:
        return found.card
    path = weights_path(prior)
    try:
        with _opened(path) as f:
            metadata = json.loads((f.metadata() or {}).get("ddgm", "{}"))
    except Exception as error:  # safetensors has no common base class
        raise PriorError(f"prior.weights: {path} is damaged ({error}); fetch it again") from error
    theirs = metadata.get("format") if isinstance(metadata, dict) else None
    if theirs != FORMAT:
        raise PriorError(
            f"prior.weights: {path} has format {theirs!r:.40}, not {FORMAT!r}; use weights that "
            "`ddgm` trained"
        )
    try:
        return card_of(metadata["card"])
    except (KeyError, TypeError, ValueError) as error:
        raise PriorError(
            f"prior.weights: the card in {path} cannot be read ({error}); train or fetch it again"
        ) from error


def card_of(fields: Mapping[str, Any]) -> PriorCard:
    """A card of its fields as JSON holds them, if its numbers can be those of a network.

    Raises:
        KeyError, TypeError: a field is missing, unknown or of another type.
        ValueError: a number is out of its bounds; it names the field.
    """
    architecture, sigmas = Architecture(**fields["architecture"]), tuple(fields["sigma_range"])
    given: dict[str, Any] = {"architecture": architecture, "sigma_range": sigmas}
    if (restores := fields.get("restores")) is not None:
        given["restores"] = conditions_of(restores)
    card = PriorCard(**{**fields, **given})
    a, (low, high) = card.architecture, card.sigma_range
    whole = {"width": (a.width, 4096), "levels": (a.levels, 12), "groups": (a.groups, 4096)}
    whole |= {"convolutions": (a.convolutions, 100), "patch": (card.patch, 2**16)}
    whole |= {"unshuffle": (a.unshuffle, 16), "passes": (card.passes, 100)}
    for name, (value, most) in whole.items():
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{name}: {value!r:.40} is not from 1 to {most}")
    if not (type(a.channels) is int and a.channels in range(1, 10, 2)):
        raise ValueError(f"channels: {a.channels!r:.40} is not an odd number from 1 to 9")
    numbers = {"std": card.std, "voxel_size_nm": card.voxel_size_nm, "sigma_range": low}
    for name, value in (numbers | {"sigma_range, its end": high}).items():
        if type(value) not in (int, float) or not 0 < value < 1e12:
            raise ValueError(f"{name}: {value!r:.40} is not above 0")
    if type(card.mean) not in (int, float) or not abs(card.mean) < 1e12:
        raise ValueError(f"mean: {card.mean!r:.40} is no number")
    if low > high or not isinstance(card.training, dict):
        raise ValueError("sigma_range falls, or training is no mapping")
    return card


def load_prior(prior: str, sha256: str | None = None) -> Prior:
    """Load a shipped prior by name, or a weights file by path.

    Raises:
        PriorError: no such prior, a damaged file, a digest other than `sha256`, or weights
            that do not fit the architecture on their own card.

    Examples:
        >>> prior = ddgm.load_prior("small")
        >>> prior.card.patch, prior.card.voxel_size_nm
        (128, 16.0)
    """
    found, card = packaged_prior(prior), read_card(prior)
    name, digest = settled(prior)
    if sha256 is not None and sha256.lower() != digest:
        raise PriorError(
            f"prior.sha256: {name} has {digest}, the spec wants {sha256}; "
            "use the weights that the spec was written for, or correct the spec"
        )
    if found is not None:
        return found
    path = weights_path(prior)
    try:
        network = UNet(card.architecture)
        with _opened(path) as f:
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
        if not all(t.is_floating_point() and t.isfinite().all() for t in tensors.values()):
            raise ValueError("weights that are no floating point numbers, or not finite")
        network.load_state_dict(tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        what = str(error).splitlines()[-1].strip()
        raise PriorError(
            f"prior.weights: {path} does not fit its architecture {card.architecture}: {what}; "
            "the file was altered, train or fetch it again"
        ) from error
    return Prior(network, card, digest)


def _opened(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt")
