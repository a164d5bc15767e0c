"""What was measured, and how far chains agree."""

from __future__ import annotations

import torch

from ddgm.core.geometry import TiltGeometry
from ddgm.core.metrics.uncertainty import (
    WINDOW,
    _energy,
    mean_and_spread,
    measured_part,
    measured_share,
)
from ddgm.core.projectors.dense import DenseProjector


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


def test_an_error_along_a_singular_vector_contradicts_the_data_by_its_weight() -> None:
    a = DenseProjector(TiltGeometry.uniform(16, 16, 9))
    for place in (int(a.singular_values.argmax()), int(a.singular_values.argmin())):
        c = torch.zeros(1, 256)
        c[0, place] = 10.0
        weight = a.singular_values[place] ** 2 / (a.singular_values[place] ** 2 + 4.1**2)
        error = a.slices(c)
        found = measured_part(a, error, 4.1)
        assert torch.allclose(found, weight * error, atol=1e-4)


def test_the_more_noise_the_less_is_measured() -> None:
    a = DenseProjector(TiltGeometry.uniform(24, 24, 9))
    x = torch.randn(1, 24, 24)
    shares = [float(measured_share(a, x, noise).mean()) for noise in (0.5, 4.1, 30.0)]
    assert shares[0] > shares[1] + 0.05 > shares[2] + 0.1


def test_energies_are_means_over_the_window_that_lies_within_the_slice() -> None:
    x = torch.randn(1, 12, 15)
    half, energy = WINDOW // 2, _energy(x)
    middle = x[0, 6 - half : 7 + half, 7 - half : 8 + half]
    assert torch.allclose(energy[0, 6, 7], middle.square().mean())
    assert torch.allclose(energy[0, 0, 0], x[0, : half + 1, : half + 1].square().mean())
