"""The network is the paper's, and what it says does not depend on the input's scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddgm.core.networks.unet import Architecture, ResidualUnit, UNet, parameter_count
from tests.ddgm_core.sample_networks import random_network

SMALL = Architecture(width=8)


@pytest.mark.parametrize(("width", "count"), [(128, 7_986_049), (32, 503_521)])
def test_parameters_are_those_of_the_paper(width: int, count: int) -> None:
    with torch.device("meta"):
        assert parameter_count(UNet(Architecture(width=width))) == count


@pytest.mark.parametrize("size", [(16, 16), (16, 48), (112, 80), (128, 144)])
def test_any_multiple_of_16_goes_in_and_comes_out(size: tuple[int, int]) -> None:
    assert SMALL.multiple == 16
    assert random_network(SMALL)(torch.randn(2, 1, *size)).shape == (2, 1, *size)


def test_fewer_levels_allow_smaller_multiples() -> None:
    architecture = Architecture(width=8, levels=3)
    assert architecture.multiple == 4
    assert random_network(architecture)(torch.randn(1, 1, 20, 12)).shape == (1, 1, 20, 12)


def test_squares_of_pixels_are_channels_and_come_back_where_they_were() -> None:
    """An image whose pixels all move by a whole square moves what comes out by as much."""
    architecture = Architecture(width=8, levels=1, convolutions=2, unshuffle=2)
    network, x = random_network(architecture), torch.zeros(1, 1, 48, 48)
    assert architecture.multiple == 2
    x[0, 0, 23, 23] = 1.0
    y = network(x)
    assert y.shape == x.shape
    moved = network(x.roll((2, 4), (2, 3))).roll((-2, -4), (2, 3))
    assert float((moved - y)[..., 16:32, 16:32].abs().max()) < 1e-4
    odd = network(x.roll(1, 3)).roll(-1, 3)  # another place in its square: other weights see it
    assert float((odd - y)[..., 16:32, 16:32].abs().max()) > 1e-2


def test_squares_of_pixels_need_sides_of_twice_the_multiple() -> None:
    architecture = Architecture(width=8, levels=3, convolutions=2, unshuffle=2)
    assert architecture.multiple == 8
    assert not architecture.has_kernels
    assert random_network(architecture)(torch.randn(1, 1, 24, 16)).shape == (1, 1, 24, 16)
    with pytest.raises(ValueError, match="must divide by 8"):
        random_network(architecture)(torch.randn(1, 1, 20, 16))


@pytest.mark.parametrize("scale", [1e-3, 0.03, 30.0, 1e4])
def test_the_scale_of_the_input_does_not_matter(scale: float) -> None:
    network, x = random_network(SMALL), torch.randn(2, 1, 32, 32)
    assert torch.allclose(network(scale * x), network(x), atol=1e-4)


def test_images_of_one_batch_are_scaled_each_by_itself() -> None:
    network, x = random_network(SMALL), torch.randn(2, 1, 32, 32)
    scaled = x * torch.tensor([1.0, 1000.0]).reshape(2, 1, 1, 1)
    assert torch.allclose(network(scaled), network(x), atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_image_is_no_trouble(value: float) -> None:
    assert random_network(SMALL)(torch.full((1, 1, 32, 32), value)).isfinite().all()


def test_units_start_as_the_identity() -> None:
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(ResidualUnit(8, 8)(x), x)


def test_every_parameter_has_a_say() -> None:
    """No block or level is left out. Groups of one map would cancel the bias before a norm."""
    network = random_network(Architecture(width=8, groups=2)).requires_grad_(True)
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    silent = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or float(p.grad.abs().max()) < 1e-7
    ]
    assert silent == []


class Detached(nn.Module):
    """A block that passes values on, but no gradients back."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.detach())


@pytest.mark.parametrize("level", range(4))
def test_each_level_has_a_skip_past_the_coarser_ones(level: int) -> None:
    """With the way further down cut, gradients still reach it."""
    network = random_network(SMALL).requires_grad_(True)
    network.down[level + 1] = Detached(network.down[level + 1])
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    gradients = [p.grad for p in network.down[level].parameters()]
    assert all(g is not None and g.abs().max() > 0 for g in gradients)
