"""Denoisers, x → ε̂: the protocol, and a network behind it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ddgm.core.networks import gpu
from ddgm.core.networks.gpu.replay import CudaGraphed
from ddgm.core.networks.prior import PriorError
from ddgm.core.networks.unet import UNet

Precision = Literal["float32", "bfloat16", "float8"]

NO_FLOAT8 = (
    "prior.precision: float8 is for networks that see one slice, pixel by pixel, and this one sees "
    "neighbouring slices (channels) or squares of pixels (unshuffle); use bfloat16"
)


class Denoiser(Protocol):
    """Predicts the unscaled noise ε of images x + σε, normalised, at any σ (Eq. 1)."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) noisy images → (B, 1, H, W) predicted noise, float32.

        One that sees neighbours takes (B, channels, H, W), and predicts the noise of the middle.
        """
        ...


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
        self,
        network: nn.Module,
        precision: Precision = "float32",
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.precision = precision
        if self.device.type == "cuda" and precision == "float32":
            torch.backends.cudnn.allow_tf32 = False  # float32 means float32

    @cached_property
    def _fast(self) -> CudaGraphed[Any] | None:
        """The network as a GPU runs it best, where it can."""
        if not (isinstance(self.network, UNet) and gpu.runs(self.precision, self.device)):
            return None
        if not self.network.architecture.has_kernels:
            return None
        from ddgm.core.networks.gpu.fused import FusedUNet

        return CudaGraphed(FusedUNet(self.network, self.precision == "float8"))

    def __call__(self, x: Tensor) -> Tensor:
        fast = None if x.requires_grad else self._fast
        if fast is not None and fast.work.supports(x):
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
        if isinstance(self.network, UNet) and not self.network.architecture.has_kernels:
            return NO_FLOAT8
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
