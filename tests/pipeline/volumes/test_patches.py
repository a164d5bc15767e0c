"""Random patches come from all of a box, in all orientations, and hold its voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddgm.core.training.data import PatchError
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.patches import random_patches, random_slabs
from tests.pipeline.sample_volumes import write_volume


def test_planes_are_thin_inside_the_box_everywhere_and_in_every_orientation() -> None:
    box = Box((-5, 10, 100), (35, 60, 150))
    planes = random_slabs(box, 32, 300, seed=0)
    shapes = {p.shape for p in planes}
    assert shapes == {(1, 32, 32), (32, 1, 32), (32, 32, 1)}
    assert all(p.inside(box) for p in planes)
    starts = np.array([p.start for p in planes if p.shape == (32, 32, 1)])
    assert starts.min(axis=0).tolist() == [-5, 10, 100]
    assert starts.max(axis=0)[:2].tolist() == [3, 28]
    assert planes == random_slabs(box, 32, 300, seed=0) != random_slabs(box, 32, 300, seed=1)


def test_orientations_that_do_not_fit_are_left_out() -> None:
    box = Box((0, 0, 0), (8, 40, 40))
    assert {p.shape for p in random_slabs(box, 32, 50, seed=0)} == {(1, 32, 32)}
    with pytest.raises(PatchError, match=r"holds no patch of 41 x 41"):
        random_slabs(box, 41, 1, seed=0)


def test_patches_hold_the_volumes_voxels(tmp_path: Path) -> None:
    data = np.arange(20 * 21 * 22, dtype=np.uint16).reshape(20, 21, 22)
    volume = open_volume(write_volume(tmp_path / "em", data), 0)
    told: list[tuple[int, int]] = []
    box = Box((2, 0, 0), (20, 21, 22))
    patches = random_patches(volume, box, 16, 20, 0, lambda done, total: told.append((done, total)))
    for patch, plane in zip(patches, random_slabs(box, 16, 20, 0), strict=True):
        assert np.array_equal(patch[0], data[plane.slices()].reshape(16, 16))
    assert patches.dtype == np.float32
    assert told == [(k, 20) for k in range(1, 21)]
