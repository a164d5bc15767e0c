"""The planes of a stack of slices in which a two-dimensional denoiser can be run.

The prior knows tissue cut in any direction, so it can denoise a stack in another plane than the
slices'. Two planes hold the width: the slices, (thickness, width), and the plane across the beam,
(slice, width). The third, (thickness, slice), holds the beam as the slices do, so what the tilts
leave unseen is unseen in it as well: it is left out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ddgm.core.networks.denoiser import Denoiser

Plane = Literal["slice", "across"]

IMAGES = 16  # to a call, which bounds the memory of their patches


def channels_of(denoise: Denoiser) -> int:
    """Neighbouring images that a denoiser is given at once: one, unless it says `channels`."""
    return getattr(denoise, "channels", 1)


def planes_of_levels(planes: Literal["slice", "alternate"], levels: int) -> tuple[Plane, ...]:
    """The plane of each of N noise levels; alternating, the plane across the beam is the last."""
    if planes == "slice":
        return ("slice",) * levels
    return tuple("across" if (levels - n) % 2 else "slice" for n in range(levels))


def predicted_noise(denoise: Denoiser, x: Tensor, plane: Plane) -> Tensor:
    """Noise that a denoiser finds in a stack of slices, image by image of a plane.

    Args:
        denoise: ε̂ of images (n, 1, H, W), any n; or of each image's neighbours in the stack,
            (n, channels, H, W), where it sees those.
        x: consecutive slices, (B, thickness, width).
        plane: of the images: "slice", B images; "across", `thickness` images of (B, width).

    Returns:
        Noise, as x.
    """
    if plane == "across":
        return _in_parts(denoise, x.transpose(0, 1)).transpose(0, 1)
    return denoise(x[:, None])[:, 0] if channels_of(denoise) == 1 else _in_parts(denoise, x)


def _in_parts(denoise: Denoiser, stack: Tensor) -> Tensor:
    """Noise of each image of a stack, a few at a time, each with its neighbours on both sides."""
    beside = neighbours(len(stack), channels_of(denoise)).to(stack.device)
    return torch.cat([denoise(stack[part])[:, 0] for part in beside.split(IMAGES)])


def neighbours(count: int, channels: int) -> Tensor:
    """Numbers of the images around each of `count`, (count, channels), reflected at the ends."""
    last = max(count - 1, 1)
    far = torch.arange(count)[:, None] + torch.arange(channels) - channels // 2
    return (last - (last - far.abs() % (2 * last)).abs()).clamp(max=count - 1)
