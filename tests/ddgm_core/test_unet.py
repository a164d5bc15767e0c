"""The network is the paper's, and what it says does not depend on the input's scale."""

from __future__ import annotations

import pytest
import torch

from ddgm_core.unet import Architecture, ResidualUnit, UNet, parameter_count
from tests.ddgm_core.networks import random_network

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
    """No block, skip or level is left out of the sum."""
    network = random_network(SMALL).requires_grad_(True)
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    silent = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or float(p.grad.abs().max()) < 1e-9
    ]
    assert silent == []


def test_skips_carry_detail_past_the_coarse_levels() -> None:
    """With the way down to the coarse levels cut, pixels still reach the output."""
    network, x = random_network(SMALL), torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        for p in network.down[1:].parameters():
            p.zero_()
    assert (network(x) - network(torch.randn(1, 1, 32, 32))).abs().max() > 0.01
