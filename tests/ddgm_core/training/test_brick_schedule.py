"""Which bricks are drawn from, and when."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ddgm.core.training.brick_schedule import BrickSchedule


@pytest.mark.parametrize("resident", [5, 6, 100])
def test_all_bricks_stay_where_they_fit(resident: int) -> None:
    schedule = BrickSchedule(5, resident, 10)
    assert {schedule.window(n, ahead=2) for n in (0, 9, 10, 12345)} == {(0, 1, 2, 3, 4)}


def test_the_window_moves_on_by_one_brick_each_turnover() -> None:
    schedule = BrickSchedule(7, 3, 10)
    windows = [schedule.window(n) for n in range(400)]
    assert all(len(w) == 3 for w in windows)
    for n in range(0, 400, 10):
        assert len(set(windows[n : n + 10])) == 1
    for before, after in pairwise(windows[::10]):
        assert after[:-1] == before[1:]


def test_what_comes_next_is_known_ahead() -> None:
    schedule = BrickSchedule(7, 3, 10)
    for n in range(0, 300, 10):
        assert schedule.window(n, ahead=2) == (*schedule.window(n), *schedule.window(n + 20)[-2:])


def test_each_pass_sees_every_brick_in_an_order_of_its_own() -> None:
    schedule = BrickSchedule(7, 1, 10)
    row = [schedule.window(n)[0] for n in range(0, 10 * 70, 10)]
    passes = [tuple(row[i : i + 7]) for i in range(0, 70, 7)]
    assert all(sorted(p) == list(range(7)) for p in passes)
    assert len(set(passes)) > 5


def test_a_window_depends_on_its_number_and_the_seed_alone() -> None:
    forward = [BrickSchedule(9, 4, 5, seed=3).window(n) for n in range(500)]
    again = BrickSchedule(9, 4, 5, seed=3)
    assert [again.window(n) for n in reversed(range(500))] == forward[::-1]
    assert [BrickSchedule(9, 4, 5, seed=4).window(n) for n in range(500)] != forward
