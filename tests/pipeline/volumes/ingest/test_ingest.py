"""Arrays become volumes of the same voxels."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from ddgm.core.errors import DdgmError
from ddgm.pipeline.volumes import ingest as module
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.ingest import ingest
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.sample_volumes import chunk_file, grey, serve
from tests.pipeline.volumes.ingest.arrays import NM, SHAPE, to, whole


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2"])
def test_npy_is_copied_bit_for_bit(tmp_path: Path, folder: Path, dtype: str) -> None:
    data = (grey(SHAPE).astype(float) * 1.37).astype(dtype)
    np.save(tmp_path / "array.npy", data)
    ingest(tmp_path / "array.npy", to(folder), NM, chunk=16)
    np.testing.assert_array_equal(whole(folder).data, data)
    assert open_volume(to(folder), 0).info.dtype == np.dtype(dtype).name
    assert list(folder.parent.iterdir()) == [folder]


def test_offset_voxel_size_and_chunk_reach_the_volume(npy: Path, folder: Path) -> None:
    ingest(npy, to(folder), (40.0, 4.5, 4.0), chunk=8, offset=(3, 5, 7))
    info = open_volume(to(folder), 0).info
    assert info.bounds == Box((3, 5, 7), (23, 45, 43))
    assert info.voxel_size_nm == (40.0, 4.5, 4.0)
    assert info.chunk_shape == (8, 8, 8)
    np.testing.assert_array_equal(whole(folder).data, np.load(npy))


def test_a_volume_may_begin_below_0(npy: Path, folder: Path) -> None:
    ingest(npy, to(folder), NM, chunk=8, offset=(-64, -3, 0))
    assert open_volume(to(folder), 0).info.bounds == Box((-64, -3, 0), (-44, 37, 36))
    np.testing.assert_array_equal(whole(folder).data, np.load(npy))


def test_jpeg_is_copied_to_within_its_loss(tmp_path: Path, folder: Path) -> None:
    z, y, x = np.indices(SHAPE)
    data = (z + 2 * y + 3 * x).astype(np.uint8)
    np.save(tmp_path / "array.npy", data)
    ingest(tmp_path / "array.npy", to(folder), NM, encoding="jpeg", chunk=16)
    assert np.abs(whole(folder).data.astype(int) - data).max() <= 6
    assert chunk_file(folder, (0, 0, 0)).read_bytes()[:2] == b"\xff\xd8"  # a jpeg


@pytest.mark.parametrize("axes", ["xyz", "yzx", "xzy"])
def test_axes_give_the_order_of_the_array(
    tmp_path: Path, folder: Path, data: np.ndarray, axes: str
) -> None:
    np.save(tmp_path / "array.npy", data.transpose(["zyx".index(axis) for axis in axes]))
    ingest(tmp_path / "array.npy", to(folder), NM, chunk=16, axes=axes)
    np.testing.assert_array_equal(whole(folder).data, data)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_stack_is_copied(
    tmp_path: Path, folder: Path, data: np.ndarray, compression: str | None
) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", data.astype(">u2"), compression=compression)
    ingest(tmp_path / "stack.tif", to(folder), NM, chunk=16)
    np.testing.assert_array_equal(whole(folder).data, data)


@pytest.mark.parametrize("axes", ["zyx", "yzx"])
def test_a_folder_of_tiffs_is_copied_in_the_order_of_its_numbers(
    tmp_path: Path, folder: Path, data: np.ndarray, axes: str
) -> None:
    (tmp_path / "stack").mkdir()
    for number, image in enumerate(data.transpose(["zyx".index(axis) for axis in axes])):
        tifffile.imwrite(tmp_path / "stack" / f"slice_{number}.TIF", image)
        (tmp_path / "stack" / f"._slice_{number}.TIF").write_bytes(bytes(4096))  # AppleDouble
    for clutter in (".DS_Store", "Thumbs.db"):
        (tmp_path / "stack" / clutter).touch()
    ingest(tmp_path / "stack", to(folder), NM, chunk=16, axes=axes)
    np.testing.assert_array_equal(whole(folder).data, data)


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_array_is_copied(
    tmp_path: Path, folder: Path, data: np.ndarray, version: Any
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(7, 9, 11), zarr_format=version)
    ingest(tmp_path / "a.zarr", to(folder), NM, chunk=16)
    np.testing.assert_array_equal(whole(folder).data, data)


def test_the_array_is_read_in_bricks_of_whole_chunks(
    npy: Path, folder: Path, data: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    read = module.Stack.read

    def spy(stack: module.Stack, box: Box) -> np.ndarray:
        seen.append(box.shape)
        return read(stack, box)

    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(module.Stack, "read", spy)
    monkeypatch.setattr(module, "BRICK_BYTES", 2 * 8 * 8 * 36)  # two rows of chunks
    ingest(npy, to(folder), NM, chunk=8, progress=lambda done, total: steps.append((done, total)))
    assert seen[:3] == [(8, 16, 36), (8, 16, 36), (8, 8, 36)]
    assert len(seen) == 9 + 1  # and the sample that is compared
    assert steps == [(done, 9) for done in range(1, 10)]
    np.testing.assert_array_equal(whole(folder).data, data)


@pytest.mark.server
def test_any_static_server_can_serve_the_result(npy: Path, folder: Path, data: np.ndarray) -> None:
    ingest(npy, to(folder), NM, chunk=16)
    with serve(folder) as server:
        volume = open_volume(server.url, 0)
        np.testing.assert_array_equal(volume.read(volume.info.bounds).data, data)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask  # readable by the server's user


def test_the_volume_says_where_it_came_from(npy: Path, folder: Path) -> None:
    ingest(npy, to(folder), NM, chunk=16)
    assert str(npy) in (folder / "provenance").read_text()


def test_in_a_bucket_the_info_comes_last(npy: Path, data: np.ndarray) -> None:
    url = "precomputed://mem://ddgm/em"

    def fail(done: int, total: int) -> None:
        if done == total:
            raise ConnectionError("gone")

    with pytest.raises(DdgmError, match="mem://ddgm/em: cannot be written"):
        ingest(npy, url, NM, chunk=16, progress=fail)
    with pytest.raises(DdgmError, match="not found"):
        _ = open_volume(url, 0).info
    ingest(npy, url, NM, chunk=16)
    volume = open_volume(url, 0)
    np.testing.assert_array_equal(volume.read(volume.info.bounds).data, data)
    with pytest.raises(DdgmError, match="exists"):
        ingest(npy, url, NM, chunk=16)
