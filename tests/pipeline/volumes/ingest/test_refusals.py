"""What cannot be ingested: one line, and nothing left behind."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from ddgm.pipeline.volumes.ingest import ingest
from tests.pipeline.volumes.ingest.arrays import NM, refused, to, whole


def test_an_existing_destination_is_refused_and_left_alone(npy: Path, folder: Path) -> None:
    ingest(npy, to(folder), NM, chunk=16)
    (folder / "mark").touch()
    assert f"{folder}: it exists" in refused(lambda: ingest(npy, to(folder), NM), folder)
    assert (folder / "mark").exists()
    (folder.parent / "empty").mkdir()
    refused(lambda: ingest(npy, to(folder.parent / "empty"), NM), folder)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"voxel_size_nm": (8.0, 0.0, 8.0)}, "voxel_size_nm (8.0, 0.0, 8.0)"),
        ({"voxel_size_nm": (8.0, -1.0, 8.0)}, "voxel_size_nm"),
        ({"voxel_size_nm": (8.0, float("nan"), 8.0)}, "voxel_size_nm"),
        ({"voxel_size_nm": (8.0, float("inf"), 8.0)}, "voxel_size_nm"),
        ({"axes": "zyy"}, "axes 'zyy'"),
        ({"axes": "tzyx"}, "axes 'tzyx'"),
        ({"encoding": "png"}, "encoding 'png'"),
        ({"chunk": 0}, "chunk 0"),
        ({"chunk": 256, "encoding": "jpeg"}, "chunk 256"),
        ({"offset": (0, 1)}, "offset (0, 1)"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    npy: Path, folder: Path, settings: dict[str, Any], named: str
) -> None:
    options = {"voxel_size_nm": NM, **settings}
    url = to(folder)
    message = refused(lambda: ingest(npy, url, **options), folder)
    assert message.startswith(named)


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "named"),
    [
        ((4, 4), "uint8", {}, "(4, 4)"),
        ((4, 4, 4, 1), "uint8", {}, "(4, 4, 4, 1)"),
        ((4, 0, 4), "uint8", {}, "(4, 0, 4)"),
        ((4, 4, 4), "float64", {}, "float64"),
        ((4, 4, 4), "bool", {}, "bool"),
        ((4, 4, 4), "uint16", {"encoding": "jpeg"}, "uint16"),
    ],
)
def test_arrays_that_cannot_be_stored_are_refused(
    tmp_path: Path,
    folder: Path,
    shape: tuple[int, ...],
    dtype: str,
    options: dict[str, Any],
    named: str,
) -> None:
    np.save(tmp_path / "array.npy", np.ones(shape, dtype))
    url = to(folder)
    message = refused(lambda: ingest(tmp_path / "array.npy", url, NM, **options), folder)
    assert named in message
    assert str(tmp_path / "array.npy") in message


@pytest.mark.parametrize("name", ["none.npy", "text.txt", "bad.npy", "folder", "group.zarr"])
def test_sources_that_are_no_arrays_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    (tmp_path / "text.txt").touch()
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nonsense")
    (tmp_path / "folder").mkdir()
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    url = to(folder)
    message = refused(lambda: ingest(tmp_path / name, url, NM), folder)
    assert f"array {tmp_path / name}" in message


def test_a_zarr_group_that_is_no_image_is_said_to_be_one(tmp_path: Path, folder: Path) -> None:
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    url = to(folder)
    assert "no OME image" in refused(lambda: ingest(tmp_path / "group.zarr", url, NM), folder)


def test_nothing_is_unpickled(tmp_path: Path, folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    (tmp_path / "array.npy").write_bytes(pickle.dumps(Trap()))
    url = to(folder)
    refused(lambda: ingest(tmp_path / "array.npy", url, NM), folder)
    assert not (tmp_path / "sprung").exists()


def test_a_tiff_of_several_series_is_refused(
    tmp_path: Path, folder: Path, data: np.ndarray
) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        writer.write(data)
        writer.write(data[:, ::2, ::2])
    url = to(folder)
    assert "2 series" in refused(lambda: ingest(tmp_path / "stack.tif", url, NM), folder)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_that_was_cut_short_is_refused(
    tmp_path: Path, folder: Path, data: np.ndarray, compression: str | None
) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as writer:  # pages as other programs write them
        for image in data:
            writer.write(image, compression=compression, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        end = tiff.pages[10].offset
    url = to(folder)
    ingest(path, url, NM, chunk=16)
    np.testing.assert_array_equal(whole(folder).data, data)
    path.write_bytes(path.read_bytes()[:end])  # ten whole pages, and the address of one more
    refused(lambda: ingest(path, f"{url}2", NM), folder)
    assert tifffile.logger().filters == []


def test_images_of_another_shape_are_refused_and_nothing_is_left(
    tmp_path: Path, folder: Path, data: np.ndarray
) -> None:
    (tmp_path / "stack").mkdir()
    for number, image in enumerate(data):
        cut = image[1:] if number == 17 else image  # in the second slab: one is written by then
        tifffile.imwrite(tmp_path / "stack" / f"{number}.tif", cut)
    url = to(folder)
    message = refused(lambda: ingest(tmp_path / "stack", url, NM, chunk=16), folder)
    assert "17.tif is (39, 36) uint8" in message


def test_a_tiff_cut_short_within_an_image_is_refused(
    tmp_path: Path, folder: Path, data: np.ndarray
) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, data)
    path.write_bytes(path.read_bytes()[:-1000])
    url = to(folder)
    refused(lambda: ingest(path, url, NM), folder)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("folder_of_them", [False, True])
def test_colours_are_not_voxels(
    tmp_path: Path, folder: Path, planar: Any, folder_of_them: bool
) -> None:
    image = np.ones((20, 30, 3) if planar == "contig" else (3, 20, 30), "uint8")
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", planarconfig=planar)
    url = to(folder)
    given = path.parent if folder_of_them else path
    assert "it is in colour" in refused(lambda: ingest(given, url, NM), folder)


def test_an_array_that_does_not_say_its_voxel_size_needs_one(npy: Path, folder: Path) -> None:
    url = to(folder)
    message = refused(lambda: ingest(npy, url), folder)
    assert message.startswith("voxel_size_nm: ")
    assert "--voxel-size" in message


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_ingest_leaves_nothing(npy: Path, folder: Path, at: int) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 2
        (growing,) = folder.parent.iterdir()
        assert not (growing / "info").exists()  # which comes last
        if done == at:
            raise KeyboardInterrupt

    url = to(folder)
    with pytest.raises(KeyboardInterrupt):
        ingest(npy, url, NM, chunk=16, progress=interrupt)
    assert list(folder.parent.iterdir()) == []


def test_what_does_not_read_back_is_refused(npy: Path, folder: Path) -> None:
    def spoil(done: int, total: int) -> None:
        (path,) = folder.parent.glob(".*/8_8_8/16-32_16-32_0-16")  # the middle chunk
        path.write_bytes(bytes(16**3))

    url = to(folder)
    message = refused(lambda: ingest(npy, url, NM, chunk=16, progress=spoil), folder)
    assert "does not read back" in message


def test_a_folder_that_cannot_be_written_is_named(npy: Path, folder: Path) -> None:
    url = f"{to(folder)}/em"
    folder.touch()  # a file where a folder must be
    assert url in refused(lambda: ingest(npy, url, NM), folder)


@pytest.mark.parametrize("url", ["precomputed://https://host/em", "zarr://file:///em", "em"])
def test_urls_that_cannot_be_written_are_refused(npy: Path, folder: Path, url: str) -> None:
    to(folder)
    message = refused(lambda: ingest(npy, url, NM), folder)
    assert f"url {url}: no precomputed volume can be written there" in message
