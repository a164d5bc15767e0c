"""What was measured, and how far chains agree."""

from __future__ import annotations

import torch

from ddgm_core.geometry import TiltGeometry
from ddgm_core.projectors.dense import DenseProjector
from ddgm_core.trust import WINDOW, mean_and_spread, measured_share


def test_mean_and_spread_are_those_of_the_chains() -> None:
    chains = torch.randn(5, 2, 8, 9)
    mean, spread = mean_and_spread(lambda k: chains[k], 5)
    assert torch.allclose(mean, chains.mean(0), atol=1e-6)
    assert torch.allclose(spread, chains.std(0), atol=1e-6)


def test_one_chain_has_no_spread() -> None:
    x = torch.randn(2, 8, 9)
    mean, spread = mean_and_spread(lambda k: x, 1)
    assert torch.equal(mean, x)
    assert not spread.any()


def test_a_singular_vector_is_as_measured_as_its_singular_value_says() -> None:
    a = DenseProjector(TiltGeometry.uniform(16, 16, 9))
    for place in (int(a.singular_values.argmax()), 3, int(a.singular_values.argmin())):
        c = torch.zeros(1, 256)
        c[0, place] = 10.0
        weight = float(a.singular_values[place] ** 2 / (a.singular_values[place] ** 2 + 4.1**2))
        expected = weight**2 / (weight**2 + (1 - weight) ** 2)
        share = measured_share(a, a.slices(c), 4.1)
        assert torch.allclose(share, torch.full_like(share, expected), atol=1e-3)


def test_the_share_is_of_the_surroundings() -> None:
    """One pixel says nothing of those that its window does not reach."""
    a = DenseProjector(TiltGeometry.uniform(24, 24, 9))
    x = torch.randn(1, 24, 24)
    changed = measured_share(a, x, 4.1) != measured_share(a, x, 8.0)
    assert changed.all()  # the noise decides what counts as measured
    assert WINDOW % 2
