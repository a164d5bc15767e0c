"""Membranes of labels, their angle to the beam, and what a prediction gets right."""

from __future__ import annotations

import numpy as np
import pytest

from ddgm.core.metrics.membranes import Found, angles_to_beam, boundary_scores, label_edges


def sheets(axis: int, slant: float = 0.0, side: int = 32) -> np.ndarray:
    """Labels of slabs of 10 voxels across an axis, which slant along the next one."""
    at = np.indices((side,) * 3).astype(float)
    across = at[axis] + slant * at[(axis + 1) % 3]
    return (across // 10).astype(int) + 1


def test_a_membrane_is_two_voxels_thick() -> None:
    labels = np.ones((4, 6, 5), int)
    labels[:, 3:] = 7
    expected = np.zeros(labels.shape, bool)
    expected[:, 2:4] = True
    assert np.array_equal(label_edges(labels), expected)


@pytest.mark.parametrize(("axis", "slant", "degrees"), [(0, 0, 90), (1, 0, 0), (0, 1, 45)])
def test_the_angle_is_that_between_membrane_and_beam(
    axis: int, slant: float, degrees: float
) -> None:
    edges = label_edges(sheets(axis, slant))
    inner = np.zeros(edges.shape, bool)
    inner[8:-8, 8:-8, 8:-8] = True
    angles = angles_to_beam(edges, beam=0)[inner[edges]]
    assert np.abs(angles - degrees).max() < 4


def test_a_membrane_that_is_off_by_a_voxel_is_found_at_that_tolerance() -> None:
    true = label_edges(sheets(0))
    moved = np.roll(true, 1, axis=0)
    moved[:1] = False
    assert boundary_scores(true, true, 0, 0)["all"].f1 == 1
    assert boundary_scores(moved, true, 0, 0)["all"].f1 < 0.6
    assert boundary_scores(moved, true, 0, 1)["all"].f1 == 1


def test_each_class_of_angles_has_its_own_membranes() -> None:
    across, along = label_edges(sheets(0)), label_edges(sheets(1))
    found = boundary_scores(along, along | across, 0, 1)
    assert found["0-30"].recall > 0.95
    assert found["60-90"].recall < 0.6  # those across the beam were not predicted
    assert np.isnan(found["60-90"].precision)


def test_nothing_predicted_finds_nothing() -> None:
    true = label_edges(sheets(0))
    found = boundary_scores(np.zeros_like(true), true, 0, 1)["all"]
    assert found.recall == 0
    assert Found(0.0, 0.0).f1 == 0
