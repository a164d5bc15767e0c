"""Voxels of another size: the same wherever they are read, and where they are said to lie."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.coordinates import Point
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.resampling.grid import Grid
from ddgm.pipeline.volumes.resampling.resampled import ResampledVolume
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.sample_volumes import chunk_file, grey, write_volume

SHAPE, OFFSET, STORED = (12, 40, 48), (-3, 8, 5), (40, 4, 5)
SIZES = [(40, 16, 20), (16, 16, 16), (80, 9.8, 2.5), (25, 3, 7), (40, 4, 5), (41, 4.1, 4.9)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("stored") / "em"
    return write_volume(folder, grey(SHAPE), offset=OFFSET, voxel_size_nm=STORED)


def resampled(url: str, size: Point, missing: int | None = None) -> ResampledVolume:
    return ResampledVolume(open_volume(url, missing=missing), size)


def centres(box: Box, size: Point) -> list[np.ndarray]:
    """Centres of a box's voxels in nanometres from the corner of voxel 0, by axis."""
    spans = zip(box.start, box.stop, size, strict=True)
    return [(np.arange(a, b) + 0.5) * s for a, b, s in spans]


@pytest.mark.parametrize("size", SIZES)
def test_a_voxel_is_the_same_in_any_box(stored: str, size: Point) -> None:
    volume, rng = resampled(stored, size), np.random.default_rng(0)
    bounds = volume.info.bounds
    whole = volume.read(bounds).data
    assert whole.shape == bounds.shape
    for _ in range(20):
        start = [int(rng.integers(a, b)) for a, b in zip(bounds.start, bounds.stop, strict=True)]
        stop = [int(rng.integers(a, b)) + 1 for a, b in zip(start, bounds.stop, strict=True)]
        box = Box(tuple(start), tuple(stop))  # type: ignore[arg-type]
        part = volume.read(box).data
        np.testing.assert_array_equal(part, whole[box.slices(bounds.start)])
        assert part.dtype == np.uint8
        assert part.flags.c_contiguous


def test_whole_factors_are_means_of_whole_voxels(stored: str) -> None:
    volume = resampled(stored, (80, 16, 20))
    assert volume.info.bounds == Box((-1, 2, 2), (4, 12, 13))  # what only part is there of is left
    data = grey(SHAPE)[1:11, :, 3:47].astype(float)
    means = data.reshape(5, 2, 10, 4, 11, 4).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(volume.read(volume.info.bounds).data, np.rint(means))


@pytest.mark.parametrize("size", [(16, 2, 2.5), (25, 3, 4), (80, 8, 15), (80, 2, 15)])
def test_grey_that_rises_evenly_still_does_at_the_new_centres(tmp_path: Path, size: Point) -> None:
    """So that no voxel is half a voxel off."""
    corner = Box(OFFSET, tuple(a + n for a, n in zip(OFFSET, SHAPE, strict=True)))  # type: ignore[arg-type]
    z, y, x = centres(corner, STORED)
    data = (z[:, None, None] + 3 * y[:, None] - 2 * x).astype(np.float32)
    url = write_volume(tmp_path / "em", data, offset=OFFSET, voxel_size_nm=STORED)
    volume = resampled(url, size)
    box = volume.info.bounds
    inner = Box(tuple(a + 1 for a in box.start), tuple(b - 1 for b in box.stop))  # type: ignore[arg-type]
    z, y, x = centres(inner, size)
    expected = z[:, None, None] + 3 * y[:, None] - 2 * x
    np.testing.assert_allclose(volume.read(inner).data, expected, atol=1e-3)


@pytest.mark.parametrize("ratio", [0.1, 0.4, 1, 1.7, 2.5, 4, 33.3])
def test_weights_are_shares_of_the_length_that_is_covered(ratio: float) -> None:
    grid = Grid.of(ratio, 1.0, -50, 150)
    first, last = grid.bounds
    assert first * ratio >= -50 > (first - 1) * ratio
    assert last * ratio <= 150 < (last + 1) * ratio
    ones = np.eye(200)
    low, high = grid.needed(first, last)
    weights = grid.resample(ones[low + 50 : high + 50], 0, first, last)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    if ratio > 1:
        edges, j = np.arange(-50, 151), np.arange(first, last)[:, None]
        low_edge, high_edge = (
            np.maximum(edges[:-1], j * ratio),
            np.minimum(edges[1:], j * ratio + ratio),
        )
        np.testing.assert_allclose(weights * ratio, (high_edge - low_edge).clip(0), atol=1e-9)


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    """Chunks beside the box may be missing; those in it count in stored voxels."""
    folder = tmp_path / "em"
    url = write_volume(folder, grey((16, 32, 32)), chunk=(16, 16, 16), voxel_size_nm=(8, 8, 8))
    chunk_file(folder, (0, 16, 0)).unlink()
    whole = Box((0, 0, 0), (8, 8, 8))
    assert resampled(url, (16, 16, 16)).read(whole).missing_voxels == 0
    below = Box((0, 8, 0), (8, 16, 8))
    with pytest.raises(SourceError, match="missing"):
        resampled(url, (16, 16, 16)).read(below)
    filled = resampled(url, (16, 16, 16), missing=7).read(below)
    assert filled.missing_voxels == 16**3
    assert (filled.data == 7).all()


def test_info_is_that_of_the_new_grid(stored: str) -> None:
    volume = pickle.loads(pickle.dumps(resampled(stored, (16, 16, 16))))
    info, own = volume.info, open_volume(stored).info
    assert info.voxel_size_nm == (16, 16, 16)
    assert info.stored_size_nm == own.voxel_size_nm == STORED
    assert info.origin_nm == own.origin_nm
    assert info.stored_voxels == pytest.approx(16**3 / 800)
    assert info.of(info.fields()) == info
    assert not {"stored_size_nm", "views"} & own.fields().keys()


def test_views_come_back_from_json(stored: str) -> None:
    info = replace(open_volume(stored).info, views=((-60.0, 4.1), (0.5, 3)))
    told = json.dumps(info.fields())
    assert info.of(json.loads(told)) == info
    assert TypeAdapter(type(info)).validate_json(told, strict=True) == info


@pytest.mark.parametrize("start", [(-2, 2, 2), (-1, 2, 1)])
def test_a_box_that_leaves_the_volume_is_refused(stored: str, start: Triple) -> None:
    with pytest.raises(SourceError, match=r"is not in z -1:4, y 2:12, x 2:13"):
        resampled(stored, (80, 16, 20)).read(Box(start, (4, 12, 13)))
