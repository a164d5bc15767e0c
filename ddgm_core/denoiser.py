"""Denoisers, x → ε̂, and priors: trained denoisers with what it takes to use them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ddgm_core import gpu
from ddgm_core.errors import DdgmError
from ddgm_core.gpu.replay import Replayed
from ddgm_core.unet import Architecture, UNet

SHIPPED = Path(__file__).parent / "priors"
FORMAT = "ddgm-prior-1"
Precision = Literal["float32", "bfloat16", "float8"]


class PriorError(DdgmError):
    """Weights that cannot be used as they are asked to be."""


class Denoiser(Protocol):
    """Predicts the unscaled noise ε of images x + σε, normalised, at any σ (Eq. 1)."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) noisy images → (B, 1, H, W) predicted noise, float32."""
        ...


@dataclass(frozen=True)
class PriorCard:
    """What travels with the weights.

    Attributes:
        architecture: how to rebuild the network.
        mean, std: of the training voxels, in grey levels; images are (grey - mean) / std.
        voxel_size_nm: side of a training voxel; tissue looks different at another one.
        patch: side of the training patches, in pixels; tiles have this size.
        sigma_range: noise levels seen in training, normalised units.
        training: data and licence, steps, batch, seed and the like, for the reader.
    """

    architecture: Architecture
    mean: float
    std: float
    voxel_size_nm: float
    patch: int = 128
    sigma_range: tuple[float, float] = (0.03, 30.0)
    training: dict[str, Any] = field(default_factory=dict)

    def knows(self, highest: float, lowest: float) -> bool:
        """Whether all noise levels between these two were seen in training."""
        low, high = self.sigma_range
        return low <= lowest <= highest <= high


@dataclass(frozen=True)
class Prior:
    """A trained denoiser with the numbers that normalise its images.

    `digest` is the SHA-256 of the weights file, which says what a result was made with.
    """

    network: UNet
    card: PriorCard
    digest: str


def default_device() -> torch.device:
    """The process's accelerator, or its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class NetworkDenoiser:
    """A network as a `Denoiser`.

    In bfloat16 the products are; norms, input and output stay float32. In float8 what goes into
    the convolutions is, on a GPU of Hopper's generation or later. Gradients flow to x where it asks
    for them, and are not kept anywhere else. What a device cannot do shows at the first call: a
    driver plans for workers that are not like it.

    Raises:
        PriorError: at a call in `float8`, on a device that has none or of images it cannot take.
    """

    def __init__(
        self, network: UNet, precision: Precision = "float32", device: str | torch.device = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.precision = precision
        if self.device.type == "cuda" and precision == "float32":
            torch.backends.cudnn.allow_tf32 = False  # float32 means float32

    @cached_property
    def _fast(self) -> Replayed[Any] | None:
        """The network as a GPU runs it best, where it can."""
        if not gpu.runs(self.precision, self.device):
            return None
        from ddgm_core.gpu.fused import FusedUNet

        return Replayed(FusedUNet(self.network, self.precision == "float8"))

    def __call__(self, x: Tensor) -> Tensor:
        fast = None if x.requires_grad else self._fast
        if fast is not None and fast.work.takes(x):
            return fast(x)
        if self.precision == "float8" and not x.requires_grad:
            raise PriorError(self._refusal(fast is not None, x))
        with (
            torch.inference_mode(not x.requires_grad),
            torch.autocast(
                self.device.type, dtype=torch.bfloat16, enabled=self.precision != "float32"
            ),
        ):
            return self.network(x.contiguous(memory_format=torch.channels_last)).float()

    def _refusal(self, runs: bool, x: Tensor) -> str:
        if runs:
            height, width = x.shape[-2:]
            return (
                f"prior.precision: float8 takes no images of {height} x {width}; use bfloat16, or "
                "tiles whose sides are powers of two"
            )
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "no GPU"
        return (
            "prior.precision: float8 needs a GPU of NVIDIA's Hopper generation or later, Triton "
            f"and a C compiler, and this worker has {name}; use bfloat16"
        )


def save_prior(
    path: Path, network: UNet, card: PriorCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write weights and card as safetensors, under a temporary name until whole."""
    from safetensors.torch import save

    weights = {k: v.detach().to("cpu", dtype).contiguous() for k, v in network.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    # one key: safetensors writes several in any order, and the same weights are to be the same file
    metadata = {"ddgm": json.dumps({"format": FORMAT, "card": asdict(card)}, sort_keys=True)}
    partial.write_bytes(save(weights, metadata))
    partial.replace(path)


def weights_path(prior: str) -> Path:
    """Where the weights of a shipped prior (by name) or of a file (by path) are.

    Raises:
        PriorError: neither a shipped prior nor a file.
    """
    shipped = SHIPPED / f"{prior}.safetensors"
    if "/" not in prior and shipped.is_file():
        return shipped
    if (path := Path(prior).expanduser()).is_file():
        return path
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
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
    path = weights_path(prior)
    try:
        with _opened(path) as f:
            metadata = json.loads((f.metadata() or {}).get("ddgm", "{}"))
    except Exception as error:  # safetensors has no common base class
        raise PriorError(f"prior.weights: {path} is damaged ({error}); fetch it again") from error
    if metadata.get("format") != FORMAT:
        raise PriorError(
            f"prior.weights: {path} has format {metadata.get('format')!r}, not {FORMAT!r}; "
            "use weights that `ddgm` trained"
        )
    try:
        card = metadata["card"]
        card["architecture"] = Architecture(**card["architecture"])
        card["sigma_range"] = tuple(card["sigma_range"])
        return PriorCard(**card)
    except (KeyError, TypeError, ValueError) as error:
        raise PriorError(
            f"prior.weights: the card in {path} cannot be read ({error}); train or fetch it again"
        ) from error


def load_prior(prior: str, sha256: str | None = None) -> Prior:
    """Load a shipped prior by name, or a weights file by path.

    Raises:
        PriorError: no such prior, a damaged file, a digest other than `sha256`, or weights
            that do not fit the architecture on their own card.
    """
    path, card = weights_path(prior), read_card(prior)
    digest = file_digest(path)
    if sha256 is not None and sha256.lower() != digest:
        raise PriorError(
            f"prior.sha256: {path} has {digest}, the spec wants {sha256}; "
            "use the weights that the spec was written for, or correct the spec"
        )
    try:
        network = UNet(card.architecture)
        with _opened(path) as f:
            network.load_state_dict({k: f.get_tensor(k) for k in f.keys()})  # noqa: SIM118
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
