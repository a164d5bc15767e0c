"""A stack denoised in the plane that a level names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddgm.core.methods.diffusion import Ddgm, Ddx
from ddgm.core.methods.method import MethodError
from ddgm.core.networks.planes import IMAGES, Plane, neighbours, planes_of_levels, predicted_noise


def slope_along_rows(x: Tensor) -> Tensor:
    """A stand-in for ε̂ that looks along an image's height: each row minus the one above."""
    assert x.ndim == 4
    assert x.shape[1] == 1
    return x - x.roll(1, dims=2)


@pytest.mark.parametrize("thickness", [5, IMAGES, IMAGES + 3])
def test_each_plane_has_its_own_neighbours(thickness: int) -> None:
    x = torch.randn(7, thickness, 9)
    assert torch.equal(predicted_noise(slope_along_rows, x, "slice"), x - x.roll(1, dims=1))
    assert torch.equal(predicted_noise(slope_along_rows, x, "across"), x - x.roll(1, dims=0))


class AboveAndBelow:
    """A stand-in for ε̂ that sees three images: the middle one minus the mean of the others."""

    channels = 3

    def __call__(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 3
        return x[:, 1:2] - (x[:, :1] + x[:, 2:]) / 2


@pytest.mark.parametrize("count", [1, 2, IMAGES + 3])
@pytest.mark.parametrize(("plane", "axis"), [("slice", 0), ("across", 1)])
def test_each_image_is_denoised_beside_its_neighbours(count: int, plane: Plane, axis: int) -> None:
    x = torch.randn(4, count, 9) if axis else torch.randn(count, 4, 9)
    images = x.movedim(axis, 0)
    before = torch.cat([images[1:2] if count > 1 else images[:1], images[:-1]])
    after = torch.cat([images[1:], images[-2:-1] if count > 1 else images[:1]])
    expected = (images - (before + after) / 2).movedim(0, axis)
    assert torch.equal(predicted_noise(AboveAndBelow(), x, plane), expected)


def test_more_neighbours_than_images_are_reflected_again() -> None:
    assert neighbours(3, 7)[0].tolist() == [1, 2, 1, 0, 1, 2, 1]
    assert neighbours(2, 5).tolist() == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]


def test_alternating_ends_across_the_beam() -> None:
    assert planes_of_levels("slice", 3) == ("slice",) * 3
    assert planes_of_levels("alternate", 4) == ("slice", "across", "slice", "across")
    assert planes_of_levels("alternate", 3) == ("across", "slice", "across")
    assert planes_of_levels("alternate", 1) == ("across",)


@pytest.mark.parametrize("method", [Ddgm, Ddx])
def test_a_method_couples_slices_only_if_it_leaves_their_plane(method: type[Ddgm | Ddx]) -> None:
    assert not method(steps=4).couples_slices
    assert method(steps=4, planes="alternate").couples_slices
    with pytest.raises(MethodError, match="planes: 'all' must be slice or alternate"):
        method(planes="all")  # type: ignore[arg-type]
