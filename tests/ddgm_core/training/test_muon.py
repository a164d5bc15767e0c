"""Muon: orthogonal steps for matrices, Adam's for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam

from ddgm.core.training.muon import Muon, orthogonalised


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24), (1, 9)])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_singular_values_become_about_one_and_their_vectors_stay(
    shape: tuple[int, int], scale: float
) -> None:
    m = scale * drawn(0, *shape)
    u, s, vt = torch.linalg.svd(m, full_matrices=False)
    kept = s > 0.05 * s[0]  # smaller ones need more than five iterations
    along = torch.diagonal(u.T @ orthogonalised(m) @ vt.T)[kept]
    assert bool((along > 0.6).all())
    assert bool((along < 1.25).all())
    across = u.T @ orthogonalised(m) @ vt.T
    assert float((across - torch.diag(torch.diagonal(across))).abs().max()) < 1e-3


def test_the_rest_is_adam() -> None:
    weights = [drawn(0, 5, 4), drawn(1, 7)]
    ours, theirs = ([nn.Parameter(w.clone()) for w in weights] for _ in range(2))
    muon, adam = Muon([], ours, lr=0.01), Adam(theirs, lr=0.01)
    for step in range(8):
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            a.grad, b.grad = (drawn(10 * step + k, *a.shape) for _ in range(2))
        muon.step()
        adam.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_step_of_a_convolution_has_the_size_of_the_rate_in_every_direction() -> None:
    """Whatever the gradient's size: that is what makes one rate fit all layers."""
    steps = []
    for scale in (1e-4, 1e4):
        p = nn.Parameter(torch.zeros(8, 8, 3, 3))
        p.grad = scale * drawn(0, 8, 8, 3, 3)
        Muon([p], [], lr=0.01).step()
        steps.append(p.detach().flatten(1))
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-2, atol=1e-4)
    values = torch.linalg.svdvals(steps[0])
    assert 0.6 * 0.07 < float(values.min()) < float(values.max()) < 1.25 * 0.07


def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(8, 1, 3, padding=1),
    )


def optimizer_of(net: nn.Sequential, lr: float = 3e-3) -> Muon:
    hidden = net[2].weight
    others = [p for p in net.parameters() if p is not hidden]
    return Muon([hidden], others, lr)  # type: ignore[list-item]


def one_step(net: nn.Sequential, optimizer: Muon, seed: int) -> float:
    """Of learning to blur."""
    x = drawn(seed, 4, 1, 12, 12)
    loss = torch.mean((net(x) - nn.functional.avg_pool2d(x, 3, 1, 1)) ** 2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_small_network_learns_with_it() -> None:
    net = conv_net()
    optimizer = optimizer_of(net)
    losses = [one_step(net, optimizer, seed) for seed in range(60)]
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])


def test_a_state_that_was_kept_goes_on_bit_for_bit() -> None:
    net = conv_net()
    optimizer = optimizer_of(net)
    for seed in range(4):
        one_step(net, optimizer, seed)
    again = copy.deepcopy(net)
    resumed = optimizer_of(again, lr=1.0)  # of which the state knows better
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in range(4, 8):
        assert one_step(net, optimizer, seed) == one_step(again, resumed, seed)
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
