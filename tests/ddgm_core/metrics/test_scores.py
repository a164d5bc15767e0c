"""Scores are those of the paper, one image at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.image import StructuralSimilarityIndexMeasure

from ddgm.core.geometry import TiltGeometry
from ddgm.core.metrics.scores import data_residual, mse, seam_energy, ssim
from ddgm.core.projectors import MatrixProjector

PATCH, STRIDE, WIDTH = 32, 24, 100  # tiles start at 0, 24, 48 and, moved inward, 68
BORDERS = (24, 32, 48, 56, 68, 80)


def images(seed: int, contrast: tuple[float, ...] = (1.0, 5.0, 0.2)) -> Tensor:
    """White images of different contrast: a batch would share one data range."""
    noise = torch.randn(len(contrast), 24, 30, generator=torch.Generator().manual_seed(seed))
    return noise * torch.tensor(contrast).reshape(-1, 1, 1)


def white(height: int = 400) -> Tensor:
    return torch.randn(2, height, WIDTH, generator=torch.Generator().manual_seed(3))


def with_steps(at: tuple[int, ...]) -> Tensor:
    steps = torch.zeros(WIDTH)
    for b in at:
        steps[b:] += 3.0
    return white() + steps


def test_mse_is_the_mean_square_of_each_image() -> None:
    x, truth = images(0), images(1)
    expected = [float(((a - b) ** 2).sum() / a.numel()) for a, b in zip(x, truth, strict=True)]
    assert mse(x, truth).tolist() == pytest.approx(expected)


def test_ssim_is_torchmetrics_one_image_at_a_time() -> None:
    truth = images(1)
    x = truth + 0.3 * images(0)
    alone = []
    for a, b in zip(x, truth, strict=True):
        alone.append(StructuralSimilarityIndexMeasure()(a[None, None], b[None, None]).item())
    assert ssim(x, truth).tolist() == pytest.approx(alone, abs=1e-6)
    together = StructuralSimilarityIndexMeasure(reduction="none")(x[:, None], truth[:, None])
    assert together.tolist() != pytest.approx(alone, abs=1e-2)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_ssim_of_an_image_has_the_same_bits_in_any_company(count: int) -> None:
    contrast = (1.0, 5.0, 0.2, 3.0, 0.1, 2.0)
    truth, x = images(1, contrast), images(1, contrast) + 0.3 * images(0, contrast)
    assert torch.equal(ssim(x[:count], truth[:count]), ssim(x, truth)[:count])
    assert torch.equal(ssim(x.flip(0), truth.flip(0)).flip(0), ssim(x, truth))
    blank = torch.arange(6).reshape(-1, 1, 1) == 1
    found = ssim(x.masked_fill(blank, 0), truth.masked_fill(blank, 0))
    assert found.isnan().tolist() == [False, True, False, False, False, False]
    assert torch.equal(found[2:], ssim(x, truth)[2:])


def test_identical_images_have_ssim_1_and_mse_0() -> None:
    x = images(0)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 3)
    assert mse(x, x).tolist() == [0.0] * 3


def test_the_truth_explains_its_data_to_the_noise() -> None:
    a = MatrixProjector(TiltGeometry.uniform(16, 24, 60))
    x = torch.randn(2, 16, 24)
    y = a.forward(x) + 4.1 * torch.randn(2, 60, 24, generator=torch.Generator().manual_seed(2))
    assert data_residual(a.forward(x), y, 4.1).tolist() == pytest.approx([1, 1], abs=0.1)
    assert (data_residual(torch.zeros_like(y), y, 4.1) > 1.5).all()


def test_without_noise_the_residual_is_the_mean_square() -> None:
    y = torch.full((2, 60, 24), 3.0)
    assert data_residual(torch.zeros_like(y), y, 0.0).tolist() == pytest.approx([9, 9])


def test_white_noise_has_no_seams() -> None:
    assert seam_energy(white(), PATCH, STRIDE).tolist() == pytest.approx([1, 1], abs=0.03)


@pytest.mark.parametrize("border", BORDERS)
def test_a_step_at_any_tile_border_is_a_seam(border: int) -> None:
    assert (seam_energy(with_steps((border,)), PATCH, STRIDE) > 1.1).all()


def test_steps_at_all_borders_weigh_as_much_as_they_jump() -> None:
    """2.674 is mean |N(3, 2)| over mean |N(0, 2)|: a step of 3 between white pixels."""
    energy = seam_energy(with_steps(BORDERS), PATCH, STRIDE)
    assert energy.tolist() == pytest.approx([2.674] * 2, rel=0.02)


@pytest.mark.parametrize("elsewhere", [12, 23, 25, 31, 33, 95])
def test_a_step_elsewhere_is_none(elsewhere: int) -> None:
    assert (seam_energy(with_steps((elsewhere,)), PATCH, STRIDE) < 1.0).all()


@pytest.mark.parametrize("width", [16, 32])
def test_one_tile_has_no_seams_to_speak_of(width: int) -> None:
    assert seam_energy(torch.randn(2, 8, width), PATCH, STRIDE).isnan().all()
