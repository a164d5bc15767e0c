"""Scores of a stack as a volume, against numbers worked out by hand or by other people's code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.image import StructuralSimilarityIndexMeasure

from ddgm.core.metrics.scores import tile_borders
from ddgm.core.metrics.volumes import CrossPlane, neighbours, ssim, tilt_seam


def stack(values: list[float]) -> Tensor:
    """Slices of 11 x 12, each of one value."""
    return torch.tensor(values).float()[:, None, None].expand(-1, 11, 12)


def tissue(n: int, thickness: int = 19, width: int = 26) -> tuple[Tensor, Tensor]:
    """A noisy copy of a volume that is smooth along its width, and the volume."""
    draw = torch.Generator().manual_seed(5)
    truth = torch.randn(n, thickness, width, generator=draw).cumsum(2)
    return truth + torch.randn(n, thickness, width, generator=draw), truth


@pytest.mark.parametrize("plane", ["across", "along"])
def test_ssim_of_a_plane_is_torchmetrics_over_its_images(plane: CrossPlane) -> None:
    x, truth = tissue(14)
    alone = []
    for image in {"across": (4, 12), "along": (4, 12, 20)}[plane]:  # every eighth, from the fourth
        cut = (slice(None), image) if plane == "across" else (slice(None), slice(None), image)
        pair = (v[cut][None, None] for v in (x, truth))
        alone.append(StructuralSimilarityIndexMeasure()(*pair).item())
    found = ssim(x, truth, plane)
    assert found.shape == (14,)
    assert found.mean().item() == pytest.approx(sum(alone) / len(alone), abs=1e-6)


@pytest.mark.parametrize("plane", ["across", "along"])
def test_a_wrong_slice_costs_those_whose_windows_hold_it(plane: CrossPlane) -> None:
    _, truth = tissue(40)
    x = truth.clone()
    x[30] = truth[7]
    found = ssim(x, truth, plane)
    assert (found < 0.9999).nonzero().flatten().tolist() == list(range(25, 36))


def test_ssim_across_and_along_are_those_of_one_cube_turned() -> None:
    x, truth = tissue(20, 20, 20)
    found = ssim(x.mT, truth.mT, "along")
    assert torch.allclose(ssim(x, truth, "across"), found)


def test_images_that_are_blank_in_both_are_left_out_of_a_planes_ssim() -> None:
    x, truth = tissue(14)
    blank = torch.arange(19)[:, None] == 4  # of the two images, at 4 and 12
    found = ssim(x.masked_fill(blank, 2.0), truth.masked_fill(blank, 2.0), "across")
    assert found.isfinite().all()
    # without the first eight rows there is one image, that at 12
    assert torch.allclose(found, ssim(x[:, 8:], truth[:, 8:], "across"))


def test_fewer_slices_than_a_window_have_no_ssim_in_planes_across_them() -> None:
    x, truth = tissue(10)
    assert ssim(x, truth, "across").isnan().tolist() == [True] * 10
    x, truth = tissue(11)
    assert ssim(x, truth, "across").isfinite().all()


def test_neighbours_are_steps_over_the_truths_mean_step() -> None:
    truth = stack([0, 1, 3, 0])  # steps 1, 2, 3: 2 on average
    found = neighbours(stack([0, 1, 2, -1]), truth)
    assert found[:3].tolist() == [0.5, 0.5, 1.5]
    assert found[3].isnan()
    assert neighbours(truth, truth)[:3].mean() == 1


def test_slices_without_a_step_in_the_truth_have_no_ratio() -> None:
    assert not neighbours(stack([0, 1, 2]), stack([4, 4, 4])).isfinite().any()
    assert neighbours(stack([1]), stack([1])).isnan().tolist() == [True]


def test_a_seam_along_the_tilt_axis_is_the_step_over_those_elsewhere() -> None:
    truth = stack([0, 1, 3, 4, 3])  # steps 1, 2, 1, 1
    x = stack([0, 2, 8, 10, 12])  # steps 2, 6, 2, 2
    found = tilt_seam(x, truth, [-3, 1, 9])
    assert found[1] == (6 / 2) / (2 / 1)
    assert found.isnan().tolist() == [True, False, True, True, True]
    assert tilt_seam(x, truth, []).isnan().all()
    assert tilt_seam(2 * truth, truth, [1, 2])[[1, 2]].tolist() == [1, 1]


def test_tiles_have_borders_where_one_begins_and_where_one_ends() -> None:
    assert tile_borders(100, 32, 24) == [24, 32, 48, 56, 68, 80]
    assert tile_borders(33, 32, 24) == [1, 32]
    assert tile_borders(32, 32, 24) == tile_borders(5, 32, 24) == []
