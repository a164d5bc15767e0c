"""Bodies of a map of membranes, and their distance from true ones."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ddgm.core.metrics.bodies import ScikitImageError, apart, segmented
from ddgm.core.metrics.membranes import label_edges


def boxes(side: int = 36, cell: int = 12) -> np.ndarray:
    """Labels of cubes that fill a cube, 27 of them."""
    z, y, x = np.indices((side,) * 3) // cell
    return (z * 9 + y * 3 + x + 1).astype(np.int32)


def test_bodies_within_membranes_are_found_whole() -> None:
    labels = boxes()
    found = segmented(np.where(label_edges(labels), 0.95, 0.02))
    off = apart(found, labels)
    assert off.vi < 0.05
    assert off.rand < 0.01


def test_a_body_that_narrows_is_joined_across_its_waist() -> None:
    z, y, x = np.indices((30, 30, 48))
    radius = np.where(np.abs(x - 23.5) > 8, 9.0, 6.0)  # two maxima of the distance, and a waist
    labels = np.where(np.hypot(z - 14.5, y - 14.5) < radius, 1, 2)
    found = segmented(np.where(label_edges(labels), 0.95, 0.02))
    assert found[15, 15, 4] == found[15, 15, 44] != found[1, 1, 24]


def test_splits_and_merges_are_told_apart() -> None:
    labels, halves = np.ones((8, 8, 8), int), np.ones((8, 8, 8), int)
    halves[4:] = 2
    cut, joined = apart(halves, labels), apart(labels, halves)
    assert (cut.split, cut.merge) == pytest.approx((1, 0))
    assert (joined.split, joined.merge) == pytest.approx((0, 1))
    assert cut.vi == joined.vi == pytest.approx(1)


def test_a_body_in_two_places_counts_as_two() -> None:
    labels = np.full((4, 4, 9), 3)
    labels[:, :, 4] = 0
    found = labels.copy()
    found[:, :, 5:] = 4
    assert apart(found, labels).vi == pytest.approx(0)


def test_without_a_maximum_all_is_one_body() -> None:
    assert np.all(segmented(np.ones((5, 5, 5))) == 1)


def test_without_scikit_image_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ScikitImageError, match=r"pip install 'ddgm\[evaluate\]'"):
        segmented(np.zeros((5, 5, 5)))
