"""Error maps that are learnt from truth, and the scale that keeps the promised rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddgm.core.metrics.conformal import (
    TooFewError,
    allowed_misses,
    conformal_scale,
    learn_error_map,
    needed_slices,
    pixel_features,
)


def test_new_slices_lie_inside_at_the_promised_rate_and_not_much_above() -> None:
    draw, count, rate = np.random.default_rng(0), 19, 0.9
    misses = []
    for _ in range(400):
        # slices that differ by a factor of their own, which the map knows nothing of
        size = draw.lognormal(0, 0.5, (count + 1, 1))
        ratios = size * np.abs(draw.standard_t(4, (count + 1, 64)))
        misses.append((ratios[-1] > conformal_scale(ratios[:-1], rate)).mean())
    tolerance = 3 * np.std(misses) / len(misses) ** 0.5
    assert 1 - rate - 2 / (count + 1) - tolerance < np.mean(misses) < 1 - rate + tolerance


def test_the_scale_is_the_smallest_that_the_promise_allows() -> None:
    ratios = np.arange(1.0, 201).reshape(20, 10)
    allowed = allowed_misses(20, 0.9)
    assert 20 / 21 * allowed + 1 / 21 == pytest.approx(0.1)
    assert allowed == pytest.approx(11 / 200)
    assert conformal_scale(ratios, 0.9) == 189  # beyond which eleven lie


@pytest.mark.parametrize(("rate", "needed"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_a_promise_of_fewer_slices_than_it_needs_is_refused(rate: float, needed: int) -> None:
    assert needed_slices(rate) == needed
    ratios = np.ones((needed, 4))
    assert conformal_scale(ratios, rate) == 1
    if needed > 1:
        with pytest.raises(TooFewError, match=f"{needed - 1} slices .* but {needed} can"):
            conformal_scale(ratios[1:], rate)


def test_a_map_finds_what_the_error_depends_on_and_leaves_what_it_does_not() -> None:
    draw = np.random.default_rng(1)
    depth, level = draw.uniform(0, 64, 200_000), draw.normal(size=200_000)
    true = np.where(depth < 16, 4.0, 1.0)
    found = learn_error_map(
        {"depth": depth, "level": level}, true**0.5 * draw.normal(size=len(depth))
    )
    factors = np.array(found.curves["depth"].factors)
    assert factors[:2].mean() / factors[6:].mean() == pytest.approx(4, rel=0.1)
    assert np.array(found.curves["level"].factors) == pytest.approx(1, abs=0.05)
    known = {name: torch.tensor([[v]]) for name, v in (("depth", 60.0), ("level", 0.0))}
    assert float(found(known)) == pytest.approx(1, rel=0.05)


def test_a_feature_that_is_the_same_everywhere_changes_nothing() -> None:
    errors = np.random.default_rng(2).normal(size=1000)
    found = learn_error_map({"measured": np.zeros(1000)}, errors)
    assert found.curves["measured"].factors == pytest.approx([1])
    here = found({"measured": torch.zeros(1, 2, 3)})
    assert here.shape == (1, 2, 3)
    assert here.numpy() == pytest.approx(float(np.sqrt((errors**2).mean())))


def test_features_are_of_a_slice_alone_and_say_how_deep_a_pixel_lies() -> None:
    x, spread, measured = torch.randn(3, 3, 12, 20).unbind(0)
    all_, one = (pixel_features(x[k], spread[k], measured[k]) for k in (slice(None), slice(1, 2)))
    assert all(torch.equal(all_[name][1:2], one[name]) for name in all_)
    assert all_["depth"][0, :, 0].tolist() == [0.5 + min(k, 11 - k) for k in range(12)]
    flat = pixel_features(torch.ones(1, 12, 20), spread[:1], measured[:1])
    assert not flat["contrast"].any()
