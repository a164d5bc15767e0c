"""Noise levels fall as Algorithm 1 and Eq. 2 have it."""

from __future__ import annotations

import pytest

from ddgm.core.methods.schedules import eq2_levels, log_linear


def test_levels_are_those_of_the_paper() -> None:
    expected = [3.0 * (0.03 / 3.0) ** ((n - 1) / (50 - 1)) for n in range(1, 51)]
    assert log_linear(3.0, 0.03, 50) == pytest.approx(expected)


def test_both_ends_are_exact() -> None:
    sigmas = log_linear(30.0, 0.03, 17)
    assert (sigmas[0], sigmas[-1], len(sigmas)) == (30.0, 0.03, 17)


def test_one_step_is_the_first_level() -> None:
    assert log_linear(3.0, 0.03, 1) == (3.0,)


def test_levels_are_plain_numbers() -> None:
    assert all(type(s) is float for s in log_linear(3.0, 0.03, 4))


@pytest.mark.parametrize("bad", [(0.0, 0.03, 5), (3.0, 0.0, 5), (3.0, -0.03, 5), (3.0, 0.03, 0)])
def test_impossible_schedules_are_refused(bad: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        log_linear(*bad)


def test_generation_falls_as_equation_2_has_it() -> None:
    levels = eq2_levels(30.0, 0.183, 0.5, 50)
    expected = [30.0 * ((1 - 0.183) ** 2 + 0.183 * 0.5) ** ((n - 1) / 2) for n in range(1, 51)]
    assert levels == pytest.approx(expected)
    assert all(type(s) is float for s in levels)
    assert levels[-1] == pytest.approx(0.035, abs=2e-4)


@pytest.mark.parametrize(
    "bad",
    [
        (0.0, 0.2, 0.5, 5),
        (30.0, 0.0, 0.5, 5),
        (30.0, 1.0, 0.5, 5),
        (30.0, 0.2, -0.1, 5),
        (30.0, 0.2, 1.1, 5),
        (30.0, 0.2, 0.5, 0),
    ],
)
def test_impossible_exponential_schedules_are_refused(bad: tuple[float, float, float, int]) -> None:
    with pytest.raises(ValueError, match="steps at least 1"):
        eq2_levels(*bad)
