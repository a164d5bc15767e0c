"""Triton kernels for all that lies between the convolutions of the network.

Feature maps are (B, H, W, C) bfloat16, C a power of two from 16 to 256. A GroupNorm needs the sums
of all that a kernel before it wrote; each kernel leaves those of its own tile in `sums`,
(B, tiles, 2, C): Σ and Σ² of every channel. They are added up in one order, without atomics, so
the same input gives the same bits.
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def _leave_sums(sums, value, image, tile, tiles, C: tl.constexpr):
    """Σ and Σ² over the pixels of one tile, `value` being (pixels, C) float32."""
    n = tl.arange(0, C)
    at = sums + (image * tiles + tile) * 2 * C + n
    tl.store(at, tl.sum(value, 0))
    tl.store(at + C, tl.sum(value * value, 0))


@triton.jit
def measure(x, sums, pixels, C: tl.constexpr, PIXELS: tl.constexpr):
    """Sums of x."""
    image, tile = tl.program_id(0), tl.program_id(1)
    p, n = tile * PIXELS + tl.arange(0, PIXELS), tl.arange(0, C)
    v = tl.load(x + (image * pixels + p)[:, None] * C + n[None, :]).to(tl.float32)
    _leave_sums(sums, v, image, tile, pixels // PIXELS, C)


@triton.jit
def add(x, change, bias, out, sums, pixels, C: tl.constexpr, PIXELS: tl.constexpr):
    """x + change + bias, and the sums of that."""
    image, tile = tl.program_id(0), tl.program_id(1)
    p, n = tile * PIXELS + tl.arange(0, PIXELS), tl.arange(0, C)
    at = (image * pixels + p)[:, None] * C + n[None, :]
    v = tl.load(x + at).to(tl.float32) + tl.load(change + at).to(tl.float32)
    v += tl.load(bias + n)[None, :]
    tl.store(out + at, v.to(out.dtype.element_ty))
    _leave_sums(sums, v, image, tile, pixels // PIXELS, C)


@triton.jit
def norm_affine(
    sums,
    bias,  # (C,), still to be added to what the sums are of
    gamma,
    beta,
    scale,  # (B, C) float32: norm(x + bias) = scale · x + shift
    shift,
    tiles,
    pixels,
    eps,
    C: tl.constexpr,
    SIZE: tl.constexpr,  # channels to a group
    TILES: tl.constexpr,  # a power of two, at least `tiles`
):
    """GroupNorm as a factor and a summand for each channel of each image."""
    image, group = tl.program_id(0), tl.program_id(1)
    t, n = tl.arange(0, TILES), group * SIZE + tl.arange(0, SIZE)
    at = sums + (image * tiles + t)[:, None] * 2 * C + n[None, :]
    there = t[:, None] < tiles
    total = tl.sum(tl.load(at, mask=there, other=0.0), 0)
    square = tl.sum(tl.load(at + C, mask=there, other=0.0), 0)
    b = tl.load(bias + n)
    mean = tl.sum(total + pixels * b) / (pixels * SIZE)
    square = tl.sum(square + 2 * b * total + pixels * b * b) / (pixels * SIZE)
    a = tl.load(gamma + n) / tl.sqrt(tl.maximum(square - mean * mean, 0.0) + eps)
    tl.store(scale + image * C + n, a)
    tl.store(shift + image * C + n, tl.load(beta + n) + a * (b - mean))


@triton.jit
def activate(x, scale, shift, out, gain, most, pixels, C: tl.constexpr, PIXELS: tl.constexpr):
    """gain · silu(norm(x)), cut off at `most`, in the dtype of `out`."""
    image, tile = tl.program_id(0), tl.program_id(1)
    p, n = tile * PIXELS + tl.arange(0, PIXELS), tl.arange(0, C)
    at = (image * pixels + p)[:, None] * C + n[None, :]
    v = tl.load(x + at).to(tl.float32)
    v = v * tl.load(scale + image * C + n)[None, :] + tl.load(shift + image * C + n)[None, :]
    v = tl.minimum(v * tl.sigmoid(v) * gain, most)
    tl.store(out + at, v.to(out.dtype.element_ty))


@triton.jit
def convolve(
    x,  # descriptor of (B, H, W, C) float8, tiles of (1, ROWS, COLUMNS, C)
    weight,  # descriptor of (9 · C out, C in) float8, tiles of (C, C)
    factor,  # (C,), what undoes the gains of both
    bias,  # (C,)
    skip,  # (B, H, W, C), added to what comes out where ADD
    out,
    sums,
    H,
    W,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ADD: tl.constexpr,
):
    """3 × 3 convolution as nine products of shifted tiles; what lies outside is read as zeros."""
    across = W // COLUMNS
    tiles = H // ROWS * across
    image, tile = tl.program_id(0), tl.program_id(1)
    top, left, n = tile // across * ROWS, tile % across * COLUMNS, tl.arange(0, C)
    total = tl.zeros((ROWS * COLUMNS, C), tl.float32)
    for tap in range(9):
        a = x.load([image, top + tap // 3 - 1, left + tap % 3 - 1, 0])
        w = weight.load([tap * C, 0])
        total = tl.dot(tl.reshape(a, (ROWS * COLUMNS, C)), w.T, total)
    total = total * tl.load(factor + n)[None, :] + tl.load(bias + n)[None, :]
    p = tl.arange(0, ROWS * COLUMNS)
    pixel = (image * H + top + p // COLUMNS) * W + left + p % COLUMNS
    at = pixel[:, None] * C + n[None, :]
    if ADD:
        total += tl.load(skip + at).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty))
    _leave_sums(sums, total, image, tile, tiles, C)


@triton.jit
def downsample(x, out, sums, H, W, C: tl.constexpr, PIXELS: tl.constexpr):
    """Means of 2 × 2 pixels; H and W are those of what comes out."""
    tiles = H * W // PIXELS
    image, tile = tl.program_id(0), tl.program_id(1)
    p, n = tile * PIXELS + tl.arange(0, PIXELS), tl.arange(0, C)
    corner = (image * 2 * H + p // W * 2) * 2 * W + p % W * 2
    at = corner[:, None] * C + n[None, :]
    v = tl.load(x + at).to(tl.float32) + tl.load(x + at + C).to(tl.float32)
    at += 2 * W * C
    v += tl.load(x + at).to(tl.float32) + tl.load(x + at + C).to(tl.float32)
    v *= 0.25
    tl.store(out + (image * H * W + p)[:, None] * C + n[None, :], v.to(out.dtype.element_ty))
    _leave_sums(sums, v, image, tile, tiles, C)


@triton.jit
def upsample(x, skip, out, sums, H, W, C: tl.constexpr, PIXELS: tl.constexpr):
    """Each pixel four times, plus the skip; H and W are those of what comes out."""
    tiles = H * W // PIXELS
    image, tile = tl.program_id(0), tl.program_id(1)
    p, n = tile * PIXELS + tl.arange(0, PIXELS), tl.arange(0, C)
    coarse = (image * (H // 2) + p // W // 2) * (W // 2) + p % W // 2
    at = (image * H * W + p)[:, None] * C + n[None, :]
    v = tl.load(x + coarse[:, None] * C + n[None, :]).to(tl.float32)
    v += tl.load(skip + at).to(tl.float32)
    tl.store(out + at, v.to(out.dtype.element_ty))
    _leave_sums(sums, v, image, tile, tiles, C)


@triton.jit
def stem(x, scale, weight, bias, out, sums, H, W, C: tl.constexpr, PIXELS: tl.constexpr):
    """The first convolution, 1 channel → C, of (B, H, W) images times scale (B,), all float32."""
    tiles = H * W // PIXELS
    image, tile = tl.program_id(0), tl.program_id(1)
    p, n = tile * PIXELS + tl.arange(0, PIXELS), tl.arange(0, C)
    row, column = p // W, p % W
    total = tl.zeros((PIXELS, C), tl.float32)
    for tap in range(9):
        dy, dx = tap // 3 - 1, tap % 3 - 1
        inside = (row + dy >= 0) & (row + dy < H) & (column + dx >= 0) & (column + dx < W)
        v = tl.load(x + image * H * W + p + dy * W + dx, mask=inside, other=0.0)
        total += v[:, None] * tl.load(weight + tap * C + n)[None, :]
    total = total * tl.load(scale + image) + tl.load(bias + n)[None, :]
    at = (image * H * W + p)[:, None] * C + n[None, :]
    tl.store(out + at, total.to(out.dtype.element_ty))
    _leave_sums(sums, total, image, tile, tiles, C)


@triton.jit
def head(x, scale, shift, weight, out, pixels, C: tl.constexpr, PIXELS: tl.constexpr):
    """The last norm and silu, and the product of each pixel with each tap of the last convolution.

    weight is (C, 16), 9 of them taps; out (B, pixels, 16) float32, to be shifted and added.
    """
    image, tile = tl.program_id(0), tl.program_id(1)
    p, n, taps = tile * PIXELS + tl.arange(0, PIXELS), tl.arange(0, C), tl.arange(0, 16)
    v = tl.load(x + (image * pixels + p)[:, None] * C + n[None, :]).to(tl.float32)
    v = v * tl.load(scale + image * C + n)[None, :] + tl.load(shift + image * C + n)[None, :]
    v = (v * tl.sigmoid(v)).to(x.dtype.element_ty)
    w = tl.load(weight + n[:, None] * 16 + taps[None, :])
    tl.store(out + (image * pixels + p)[:, None] * 16 + taps[None, :], tl.dot(v, w))


@triton.jit
def gather_taps(taps, bias, out, H, W, PIXELS: tl.constexpr):
    """The last convolution: each pixel's nine neighbours, each through its own tap."""
    image, tile = tl.program_id(0), tl.program_id(1)
    p = tile * PIXELS + tl.arange(0, PIXELS)
    row, column = p // W, p % W
    total = tl.zeros((PIXELS,), tl.float32) + tl.load(bias)
    for tap in range(9):
        dy, dx = tap // 3 - 1, tap % 3 - 1
        inside = (row + dy >= 0) & (row + dy < H) & (column + dx >= 0) & (column + dx < W)
        at = (image * H * W + p + dy * W + dx) * 16 + tap
        total += tl.load(taps + at, mask=inside, other=0.0)
    tl.store(out + image * H * W + p, total)
