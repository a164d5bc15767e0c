"""Our GroupNorm is torch's, and so are its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddgm.core.networks.group_norm import GroupNorm

SHAPE = 3, 12, 10, 14
GROUPS = 4
FORMATS = [torch.contiguous_format, torch.channels_last]
Gradients = tuple[Tensor, Tensor, Tensor]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def images(mean: float = 0.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return (mean + drawn(0, *SHAPE)).to(dtype)


def like(norm: nn.GroupNorm) -> nn.GroupNorm:
    """A norm with weights that are not 1 and 0."""
    with torch.no_grad():
        norm.weight.copy_(1 + 0.3 * drawn(1, SHAPE[1]))
        norm.bias.copy_(drawn(2, SHAPE[1]))
    return norm


def through(norm: nn.GroupNorm, x: Tensor, dy: Tensor) -> tuple[Tensor, Gradients]:
    """What comes out, and the gradients of x, weight and bias for dy of the output."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    norm.zero_grad()
    out = norm(x)
    out.backward(dy)
    assert x.grad is not None
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    return out.detach(), (x.grad, norm.weight.grad, norm.bias.grad)


@pytest.mark.parametrize("mean", [0.0, 20.0])
@pytest.mark.parametrize("layout", FORMATS)
def test_float32_is_torchs(layout: torch.memory_format, mean: float) -> None:
    x = images(mean).contiguous(memory_format=layout)
    dy = drawn(3, *SHAPE).contiguous(memory_format=layout)
    ours, gradients = through(like(GroupNorm(GROUPS, SHAPE[1])), x, dy)
    torchs, expected = through(like(nn.GroupNorm(GROUPS, SHAPE[1])), x, dy)
    torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mean", [0.0, 8.0])
@pytest.mark.parametrize("layout", FORMATS)
def test_bfloat16_is_float64_to_its_rounding(layout: torch.memory_format, mean: float) -> None:
    """Images in bfloat16 and weights in float32, as autocast has them."""
    x = images(mean, torch.bfloat16).contiguous(memory_format=layout)
    dy = drawn(3, *SHAPE).bfloat16().contiguous(memory_format=layout)
    _, gradients = through(like(GroupNorm(GROUPS, SHAPE[1])), x, dy)
    exact = like(nn.GroupNorm(GROUPS, SHAPE[1])).double()
    _, expected = through(exact, x.double(), dy.double())
    assert gradients[0].dtype == torch.bfloat16
    for found, wanted in zip(gradients, expected, strict=True):
        error = float((found.double() - wanted).abs().max() / wanted.abs().max())
        assert error < (1 + mean) * 2**-7, error


@pytest.mark.parametrize("layout", FORMATS)
def test_gradients_are_those_of_finite_differences(layout: torch.memory_format) -> None:
    norm = GroupNorm(2, 4).double()
    x = drawn(0, 2, 4, 3, 5).double().contiguous(memory_format=layout).requires_grad_()

    def f(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    weight, bias = (drawn(seed, 4).double().requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(f, (x, weight, bias))


def test_without_gradients_it_is_torchs_bit_for_bit() -> None:
    with torch.no_grad():
        ours = like(GroupNorm(GROUPS, SHAPE[1]))(images())
        torchs = like(nn.GroupNorm(GROUPS, SHAPE[1]))(images())
    assert torch.equal(ours, torchs)
    assert ours.grad_fn is None
