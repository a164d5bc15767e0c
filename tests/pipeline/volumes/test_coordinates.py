"""Corners and centres of voxels, turned into one another exactly."""

from __future__ import annotations

import pytest

from ddgm.pipeline.volumes.coordinates import centre_of, nearest_voxel, origin_of


def test_the_first_voxel_of_a_precomputed_volume_has_its_centre_half_a_voxel_in() -> None:
    assert centre_of((0, 0, 0), (16, 16, 16), (0, 0, 0)) == (8, 8, 8)
    assert centre_of((40, -3, 1), (40, 4.5, 9.8), (0, 0, 0)) == (1620, -11.25, 14.7)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (640.0, 0.1, -7.3), (1e9, 3.3e-3, 4.9)])
def test_a_centre_comes_back_as_it_was_written(centre: tuple[float, float, float]) -> None:
    size = (16.0, 9.8, 0.7)
    assert centre_of((0, 0, 0), size, origin_of(centre, size)) == centre


def test_a_corner_in_whole_voxels_is_kept_and_half_a_voxel_is_rounded_up() -> None:
    size = (40.0, 4.9, 16.0)
    assert nearest_voxel(origin_of(centre_of((7, -5, 0), size, (0, 0, 0)), size), size) == (
        7,
        -5,
        0,
    )
    assert nearest_voxel(origin_of((0, 0, 640), size), size) == (0, 0, 40)  # as most files have it
