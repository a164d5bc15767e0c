"""Of an OME-Zarr image its own words are taken: axes, voxel size and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.ingest import ingest
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.volumes.ingest.arrays import NM, refused, to, whole
from tests.pipeline.volumes.ome_images import write_ome


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("axes", ["zyx", "xyz", "tczyx", "tcxyz"])
def test_level_0_is_copied_whatever_the_order_of_its_axes(
    tmp_path: Path, folder: Path, data: np.ndarray, version: int, axes: str
) -> None:
    space = [a for a in axes if a in "zyx"]
    array = data.transpose(["zyx".index(a) for a in space])
    array = array.reshape([1] * (len(axes) - 3) + list(array.shape))
    sizes = {"z": 40.0, "y": 4.0, "x": 9.8}
    scale = [sizes[a] for a in space]
    image = write_ome(
        tmp_path / "a.zarr", array, version=version, axes=axes, scale=scale, coarser=array[..., ::2]
    )
    taken = ingest(image, to(folder), chunk=16)
    np.testing.assert_array_equal(whole(folder).data, data)
    assert open_volume(to(folder), 0).info.voxel_size_nm == (40.0, 4.0, 9.8)
    assert (taken.axes, taken.shape, taken.offset) == (axes, data.shape, (0, 0, 0))


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("micrometer", 0.0098), ("angstrom", 98.0), ("nm", 9.8), ("millimeter", 9.8e-6)],
)
def test_units_are_turned_into_nanometres(
    tmp_path: Path, folder: Path, data: np.ndarray, unit: str, scale: float
) -> None:
    image = write_ome(tmp_path / "a.zarr", data, unit=unit, scale=[scale] * 3)
    ingest(image, to(folder), chunk=16)
    assert open_volume(to(folder), 0).info.voxel_size_nm == (9.8, 9.8, 9.8)


def test_its_place_is_kept_to_the_voxel(tmp_path: Path, folder: Path, data: np.ndarray) -> None:
    centres = [(s + 0.5) * 16.0 for s in (40, -3, 0)]
    image = write_ome(tmp_path / "a.zarr", data, translation=centres)
    ingest(image, to(folder), chunk=16)
    assert open_volume(to(folder), 0).info.bounds.start == (40, -3, 0)


def test_what_is_asked_for_goes_before_what_it_says(
    tmp_path: Path, folder: Path, data: np.ndarray
) -> None:
    image = write_ome(tmp_path / "a.zarr", data, translation=[648.0, 8.0, 8.0])
    ingest(image, to(folder), NM, offset=(1, 2, 3), axes="zyx", chunk=16)
    info = open_volume(to(folder), 0).info
    assert info.voxel_size_nm == NM
    assert info.bounds == Box((1, 2, 3), (21, 42, 39))


@pytest.mark.parametrize(
    ("image", "options", "fault"),
    [
        ({"axes": "xyz"}, {"axes": "zyx"}, "says 'xyz'"),
        ({"unit": None}, {}, "how large its voxels are"),
        ({"unit": "parsec"}, {}, "axis z is in parsec"),
        ({"axes": "cyx"}, {}, "axes c, y, x where z, y and x are needed"),
        ({"scale": [16.0, -1.0, 16.0]}, {}, "it must be above 0"),
        ({"scale": [16.0, float("nan"), 16.0]}, {}, "where 3 numbers are needed"),
    ],
)
def test_what_contradicts_or_is_not_said_is_refused(
    tmp_path: Path,
    folder: Path,
    data: np.ndarray,
    image: dict[str, Any],
    options: dict[str, Any],
    fault: str,
) -> None:
    path = write_ome(tmp_path / "a.zarr", data, **image)
    url = to(folder)
    assert fault in refused(lambda: ingest(path, url, **options), folder)


def test_two_channels_are_refused(tmp_path: Path, folder: Path, data: np.ndarray) -> None:
    path = write_ome(tmp_path / "a.zarr", np.stack([data, data])[None], axes="tczyx")
    url = to(folder)
    assert "axis c has length 2" in refused(lambda: ingest(path, url), folder)
