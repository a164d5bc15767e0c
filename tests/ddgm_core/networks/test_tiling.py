"""A patch denoiser on slices of any size is Eq. 7, and leaves no trace of how it was run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.networks.denoiser import Denoiser, NetworkDenoiser
from ddgm.core.networks.fixed_batches import FixedBatches
from ddgm.core.networks.tiling import (
    Bump,
    RowDenoiser,
    TiledDenoiser,
    bump_1d,
    reflected,
    tile_starts,
)
from ddgm.core.networks.unet import Architecture
from tests.ddgm_core.sample_networks import random_network

BUMPS: list[Bump] = ["floor", "printed", "box"]
SIZES = [(1, 1), (5, 3), (8, 8), (8, 9), (7, 40), (31, 37), (16, 6), (20, 20)]


def white(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def identity(x: Tensor) -> Tensor:
    return x


class Recorder:
    """A denoiser that keeps the shapes it was called with."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        return x


def uneven(x: Tensor) -> Tensor:
    """What a patch gets depends on all of it, and on the place within it."""
    rows, columns = (torch.arange(n, dtype=x.dtype) for n in x.shape[-2:])
    gain = 1 + rows[:, None] / 7 + columns**2 / 50
    return gain * torch.sin(x) + x.mean(dim=(2, 3), keepdim=True)


def equation_7(x: np.ndarray, patch: int, stride: int, bump: Bump) -> np.ndarray:
    """Patches at every multiple of the stride and at the far edges, pixel by pixel."""
    height, width = x.shape
    corners = []
    for i in range(height - patch + 1):
        for j in range(width - patch + 1):
            down, across = (k % stride == 0 or k == n - patch for k, n in ((i, height), (j, width)))
            if down and across:
                corners.append((i, j))
    result = np.zeros(x.shape)
    outputs = [
        uneven(torch.from_numpy(x[None, None, i : i + patch, j : j + patch]))[0, 0].numpy()
        for i, j in corners
    ]
    for row in range(height):
        for column in range(width):
            above = below = 0.0
            for (i, j), output in zip(corners, outputs, strict=True):
                u, v = row - i, column - j
                if 0 <= u < patch and 0 <= v < patch:
                    b = equation_9(u, patch, bump) * equation_9(v, patch, bump)
                    above, below = above + b * output[u, v], below + b
            result[row, column] = above / below
    return result


def equation_9(pixel: int, patch: int, bump: Bump) -> float:
    """The window at a pixel's centre, which lies half a pixel into it."""
    u = 2 * (pixel + 0.5) / patch - 1
    decaying = math.exp(-1 / max(1 - u * u, 0.2))
    return {"floor": decaying, "printed": 1 - decaying, "box": 1.0}[bump]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bump", BUMPS)
def test_a_denoiser_that_changes_nothing_changes_nothing(size: tuple[int, int], bump: Bump) -> None:
    x = white(3, 1, *size)
    assert torch.allclose(TiledDenoiser(FixedBatches(identity, 4), 8, 6, bump)(x), x, atol=2e-6)


@pytest.mark.parametrize("width", [1568, 1567, 325, 128, 127])
def test_nor_at_the_papers_size(width: int) -> None:
    x = white(1, 1, 128, width)
    assert torch.allclose(TiledDenoiser(identity)(x), x, atol=2e-6)


@pytest.mark.parametrize("size", [(128, 1568), (128, 1571), (131, 331), (300, 128), (50, 200)])
@pytest.mark.parametrize("bump", BUMPS)
def test_blend_weights_sum_to_one_at_every_pixel(size: tuple[int, int], bump: Bump) -> None:
    ones = torch.ones(1, 1, *size)
    total = TiledDenoiser(identity, bump=bump)(ones).double()
    assert float((total - 1).abs().max()) < 1e-6


@pytest.mark.parametrize("size", [(8, 8), (20, 27), (8, 13), (14, 8)])
@pytest.mark.parametrize("bump", BUMPS)
def test_it_is_equation_7(size: tuple[int, int], bump: Bump) -> None:
    x = white(2, 1, *size).double()
    expected = np.stack([equation_7(image.numpy(), 8, 6, bump) for image in x[:, 0]])
    blended = TiledDenoiser(FixedBatches(uneven, 5), 8, 6, bump)(x)[:, 0].numpy()
    assert np.abs(blended - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("slices", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_network_batches_have_one_shape_and_are_no_more_than_needed(
    slices: int, batch: int
) -> None:
    denoise = Recorder()
    TiledDenoiser(FixedBatches(denoise, batch), 8, 6)(white(slices, 1, 8, 26))  # 4 tiles to a slice
    assert denoise.shapes == [(batch, 1, 8, 8)] * math.ceil(4 * slices / batch)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_slice_comes_out_the_same_in_any_company(precision: str) -> None:
    network = random_network(Architecture(width=8, levels=3, convolutions=2))
    patches = NetworkDenoiser(network, "bfloat16" if precision == "bfloat16" else "float32")
    denoise: Denoiser = TiledDenoiser(FixedBatches(patches, 4), 32, 24)
    x = white(5, 1, 32, 100)
    together = denoise(x)
    assert together.std() > 0.01
    for i in range(5):
        assert torch.equal(denoise(x[i : i + 1])[0], together[i])
    assert torch.equal(denoise(x[[4, 1]]), together[[4, 1]])


@pytest.mark.parametrize("width", [20, 32, 100])
def test_the_input_is_left_as_it_was(width: int) -> None:
    x = white(1, 1, 32, width)
    TiledDenoiser(lambda x: x.mul_(0), 32, 24)(x)
    assert torch.equal(x, white(1, 1, 32, width))


def test_sixteen_tiles_fit_the_papers_slice_exactly() -> None:
    assert tile_starts(1568, 128, 96) == [96 * k for k in range(16)]


def test_the_last_tile_is_moved_inward() -> None:
    assert tile_starts(325, 128, 96) == [0, 96, 192, 197]
    assert tile_starts(129, 128, 96) == [0, 1]
    assert tile_starts(128, 128, 96) == [0]


@pytest.mark.parametrize("length", [*range(8, 40), 1567, 1569])
def test_tiles_cover_everything_and_stay_inside(length: int) -> None:
    starts = tile_starts(length, 8, 6)
    assert {p for s in starts for p in range(s, s + 8)} == set(range(length))
    assert starts == sorted(set(starts))


def test_a_length_below_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="127 pixels hold no patch of 128"):
        tile_starts(127, 128, 96)


@pytest.mark.parametrize("stride", [0, -1, 129])
def test_a_stride_that_would_leave_gaps_is_refused(stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride {stride}"):
        TiledDenoiser(identity, 128, stride)


@pytest.mark.parametrize("bump", BUMPS)
@pytest.mark.parametrize("patch", [7, 8, 128])
def test_windows_are_those_of_the_formula_and_symmetric(patch: int, bump: Bump) -> None:
    window = bump_1d(patch, bump)
    assert window.tolist() == pytest.approx([equation_9(i, patch, bump) for i in range(patch)])
    assert window == pytest.approx(window[::-1])


def test_the_floor_bump_decays_to_its_floor() -> None:
    window = bump_1d(128, "floor")
    assert window[63] == pytest.approx(math.exp(-1), rel=1e-3)
    assert window[0] == pytest.approx(math.exp(-5))
    assert (np.diff(window[:64]) >= 0).all()


def test_the_printed_bump_rises_to_the_edges_and_the_box_is_flat() -> None:
    window = bump_1d(128, "printed")
    assert window[63] == pytest.approx(1 - math.exp(-1), rel=1e-3)
    assert window[0] == pytest.approx(1 - math.exp(-5))
    assert (np.diff(window[:64]) <= 0).all()
    assert (bump_1d(128, "box") == 1).all()


def test_reflection_is_that_of_numpy() -> None:
    x = white(2, 1, 5, 4)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 16), (0, 3)), mode="reflect")
    assert np.array_equal(reflected(x, 21, 7).numpy(), expected)


def test_a_single_line_is_repeated() -> None:
    line = torch.tensor([[[[3.0, 4.0]]]])
    assert torch.equal(reflected(line, 3, 2), line.expand(1, 1, 3, 2))


def test_gradients_flow_after_a_call_without_them() -> None:
    denoise, x = TiledDenoiser(lambda x: x**2, 8, 6), white(1, 1, 8, 26)
    with torch.inference_mode():
        denoise(x)
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(denoise(x).sum(), x)
    assert torch.allclose(gradient, 2 * x, atol=1e-5)


@pytest.mark.parametrize("width", [48, 50, 64])
@pytest.mark.parametrize("batch", [1, 2])
def test_whole_rows_are_the_denoiser_itself_on_slices_continued_by_reflection(
    width: int, batch: int
) -> None:
    def around(x: Tensor) -> Tensor:  # what comes out depends on what lies outside
        return x.roll(5, -1) + 2 * x.roll(-3, -2)

    recorder, x = Recorder(), white(3, 1, 20, width)
    expected = around(reflected(x, 32, -(-width // 16) * 16))[..., :20, :width]
    rows = RowDenoiser(FixedBatches(lambda x: around(recorder(x)), batch), 16)
    assert torch.equal(rows(x), expected)
    assert [shape[0] for shape in recorder.shapes] == [batch] * -(-3 // batch)
