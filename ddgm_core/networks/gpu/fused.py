"""The U-Net on a GPU, with all that lies between convolutions fused.

Feature maps are read and written as seldom as GroupNorm allows: once for its sums, where no other
kernel has left them, and once to normalise and activate. The convolutions are cuDNN's in bfloat16.
In float8 (e4m3, of what goes into them alone) they are our own, which add the residual and leave
the sums, too. Held against the plain network in tests; measured in docs/results/speed.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from triton.tools.tensor_descriptor import TensorDescriptor  # pyright: ignore[reportMissingImports]

from ddgm.core.networks.unet import ResidualUnit, UNet

kernels: Any = import_module("ddgm.core.networks.gpu.kernels")  # what is compiled has no types

PIXELS = 128  # that a kernel's program works on, at most
FLOAT8 = torch.float8_e4m3fn
LARGEST = 448.0  # of float8
SPREAD = 16.0  # standard deviations of a normalised feature that float8 has room for

Maps = tuple[Tensor, Tensor]  # (B, H, W, C) bfloat16, and the sums that their kernel left


class FusedUNet:
    """`UNet` for (B, 1, H, W) float32 images on a GPU, without gradients.

    Feature maps are bfloat16; sums, norms and what is added up are float32.

    Args:
        network: on the GPU.
        float8: whether convolutions multiply in float8; for Hopper and later, see `gpu.runs`.
    """

    def __init__(self, network: UNet, float8: bool = False) -> None:
        self.float8 = float8
        unit = _Unit8 if float8 else _Unit
        self.width = network.architecture.width
        self.coarsest = network.architecture.multiple
        self.stem = _floats(network.stem.weight[:, 0].flatten(1).T), _floats(network.stem.bias)
        self.down = [[unit(u) for u in block] for block in network.down]  # type: ignore[union-attr]
        self.up = [[unit(u) for u in block] for block in network.up]  # type: ignore[union-attr]
        self.norm = _Norm(network.norm)
        taps = network.head.weight[0].flatten(1)  # (C, 9)
        self.head = F.pad(taps, (0, 7)).to(torch.bfloat16).contiguous()
        self.head_bias = _floats(network.head.bias)

    def supports(self, x: Tensor) -> bool:
        """True if the kernels support such images: sides that are powers of two, not too many."""
        height, width = x.shape[-2:]
        powers = all(n & (n - 1) == 0 and n >= 4 * self.coarsest for n in (height, width))
        narrow, wide = (32, 128) if self.float8 else (16, 256)
        maps = self.width & (self.width - 1) == 0 and narrow <= self.width <= wide
        return powers and maps and x.numel() * self.width < 2**31  # offsets are 32 bits wide

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) images → (B, 1, H, W) predicted noise."""
        h = self._stem(x.contiguous())
        skips = []
        for i, block in enumerate(self.down):
            h = _run(block, h if i == 0 else _downsample(h))
            skips.append(h)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            h = _run(block, _upsample(h, skip))
        return self._head(h)

    def _stem(self, x: Tensor) -> Maps:
        b, _, height, width = x.shape
        scale = 1 / x.std(dim=(1, 2, 3)).clamp_min(1e-6)
        out = x.new_empty(b, height, width, self.width, dtype=torch.bfloat16)
        sums, grid, pixels = _room(out)
        kernels.stem[grid](x, scale, *self.stem, out, sums, height, width, self.width, pixels)
        return out, sums

    def _head(self, h: Maps) -> Tensor:
        x = h[0]
        b, height, width, c = x.shape
        scale, shift = self.norm(*h, torch.zeros_like(self.norm.beta))
        taps = scale.new_empty(b, height, width, 16)
        out = scale.new_empty(b, 1, height, width)
        _, grid, pixels = _room(x)
        kernels.head[grid](x, scale, shift, self.head, taps, height * width, c, pixels)
        kernels.gather_taps[grid](taps, self.head_bias, out, height, width, pixels)
        return out


class _Norm:
    def __init__(self, norm: nn.GroupNorm) -> None:
        self.gamma, self.beta = _floats(norm.weight), _floats(norm.bias)
        self.size, self.eps = norm.num_channels // norm.num_groups, norm.eps

    def __call__(self, x: Tensor, sums: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """norm(x + bias) as a factor and a summand of each image's channels, (B, C) each."""
        b, height, width, c = x.shape
        scale, shift = sums.new_empty(2, b, c).unbind()
        tiles = sums.shape[1]
        kernels.norm_affine[b, c // self.size](
            *(sums, bias, self.gamma, self.beta, scale, shift, tiles, height * width, self.eps),
            *(c, self.size, 1 << (tiles - 1).bit_length()),
        )
        return scale, shift

    def activated(
        self, x: Tensor, sums: Tensor, bias: Tensor, dtype: torch.dtype, gain: float = 1.0
    ) -> Tensor:
        """gain · silu(norm(x + bias))."""
        scale, shift = self(x, sums, bias)
        out = torch.empty_like(x, dtype=dtype)
        _, grid, pixels = _room(x)
        most = LARGEST if dtype == FLOAT8 else float("inf")
        size = x.shape[1] * x.shape[2]
        kernels.activate[grid](x, scale, shift, out, gain, most, size, x.shape[3], pixels)
        return out


class _Unit:
    """One residual unit, its convolutions by cuDNN in bfloat16."""

    def __init__(self, unit: ResidualUnit) -> None:
        convolutions = unit.conv1, unit.conv2
        self.norms = _Norm(unit.norm1), _Norm(unit.norm2)
        self.weights = [
            c.weight.detach().to(torch.bfloat16, memory_format=torch.channels_last)
            for c in convolutions
        ]
        self.biases = [_floats(c.bias) for c in convolutions]
        self.none = torch.zeros_like(self.biases[0])

    def __call__(self, h: Maps) -> Maps:
        x, sums = h
        size, c = x.shape[1] * x.shape[2], x.shape[3]
        inner = self._convolved(0, x, sums, self.none)
        between, grid, pixels = _room(inner)
        kernels.measure[grid](inner, between, size, c, pixels)
        inner = self._convolved(1, inner, between, self.biases[0])
        out, sums = torch.empty_like(x), torch.empty_like(sums)
        kernels.add[grid](x, inner, self.biases[1], out, sums, size, c, pixels)
        return out, sums

    def _convolved(self, i: int, x: Tensor, sums: Tensor, bias: Tensor) -> Tensor:
        x = self.norms[i].activated(x, sums, bias, torch.bfloat16)
        x = F.conv2d(x.permute(0, 3, 1, 2), self.weights[i], padding=1)
        return x.permute(0, 2, 3, 1).contiguous()  # as it is already, where cuDNN made it


class _Unit8:
    """One residual unit, its convolutions our own in float8.

    Each output channel's weights fill float8's range, and so do, with room to spare, the features
    that a norm can make: neither depends on the image.
    """

    def __init__(self, unit: ResidualUnit) -> None:
        convolutions = unit.conv1, unit.conv2
        self.norms = _Norm(unit.norm1), _Norm(unit.norm2)
        self.gains = [_gain(n) for n in self.norms]
        self.weights, self.factors = [], []
        for convolution, gain in zip(convolutions, self.gains, strict=True):
            weight = convolution.weight.detach().float()
            largest = weight.abs().amax((1, 2, 3)).clamp_min(1e-12)
            filled = weight * (LARGEST / largest)[:, None, None, None]
            self.weights.append(filled.permute(2, 3, 0, 1).flatten(0, 2).contiguous().to(FLOAT8))
            self.factors.append(largest / (LARGEST * gain))
        self.biases = [_floats(c.bias) for c in convolutions]
        self.none = torch.zeros_like(self.biases[0])

    def __call__(self, h: Maps) -> Maps:
        return self._convolved(1, self._convolved(0, h, None), h[0])

    def _convolved(self, i: int, h: Maps, skip: Tensor | None) -> Maps:
        x = self.norms[i].activated(*h, self.none, FLOAT8, self.gains[i])
        b, height, width, c = x.shape
        columns = min(width, PIXELS)
        rows = min(height, PIXELS // columns)
        out, sums = torch.empty_like(h[0]), torch.empty_like(h[1])
        kernels.convolve[b, sums.shape[1]](
            TensorDescriptor.from_tensor(x, [1, rows, columns, c]),
            TensorDescriptor.from_tensor(self.weights[i], [c, c]),
            *(self.factors[i], self.biases[i], out if skip is None else skip, out, sums),
            *(height, width, c, rows, columns, skip is not None),
            num_warps=4,
            num_stages=3,  # measured, with the tile
        )
        return out, sums


def _gain(norm: _Norm) -> float:
    """A power of two that makes much of float8's range of what a norm's silu can be."""
    most = float((SPREAD * norm.gamma.abs() + norm.beta.abs()).max())
    return 2.0 ** math.floor(math.log2(LARGEST / max(most, 1e-6)))


def _run(block: Sequence[_Unit | _Unit8], h: Maps) -> Maps:
    for unit in block:
        h = unit(h)
    return h


def _downsample(h: Maps) -> Maps:
    b, height, width, c = h[0].shape
    out = h[0].new_empty(b, height // 2, width // 2, c)
    sums, grid, pixels = _room(out)
    kernels.downsample[grid](h[0], out, sums, height // 2, width // 2, c, pixels)
    return out, sums


def _upsample(h: Maps, skip: Maps) -> Maps:
    _, height, width, c = skip[0].shape
    out = torch.empty_like(skip[0])
    sums, grid, pixels = _room(out)
    kernels.upsample[grid](h[0], skip[0], out, sums, height, width, c, pixels)
    return out, sums


def _room(x: Tensor) -> tuple[Tensor, tuple[int, int], int]:
    """Room for the sums of maps, the programs (images, tiles) of a kernel, and a tile's pixels."""
    b, height, width, c = x.shape
    pixels = min(PIXELS, height * width)
    tiles = height * width // pixels
    return x.new_empty(b, tiles, 2, c, dtype=torch.float32), (b, tiles), pixels


def _floats(t: Tensor | None) -> Tensor:
    assert t is not None
    return t.detach().float().contiguous()
