import builtins
import os
import pickle
import re
import stat
from collections.abc import Callable
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
from ddgm.pipeline.volumes.volume import Cutout, Volume
from tests.pipeline.sample_volumes import chunk_file, grey, serve

SHAPE = (20, 40, 36)
NM = (8.0, 8.0, 8.0)


@pytest.fixture
def data() -> np.ndarray:
    return grey(SHAPE)


@pytest.fixture
def npy(tmp_path: Path, data: np.ndarray) -> Path:
    np.save(tmp_path / "array.npy", data)
    return tmp_path / "array.npy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "em"


def to(folder: Path) -> str:
    folder.parent.mkdir(exist_ok=True)
    return f"precomputed://file://{folder}"


def whole(folder: Path) -> Cutout:
    volume = Volume(to(folder), 0)
    return volume.read(volume.info.bounds)


def refused(run: Callable[[], None], folder: Path) -> str:
    """The one line of the DdgmError that `run` raises, once it is sure that nothing is left."""
    before = sorted(folder.parent.glob("*"))
    with pytest.raises(DdgmError) as caught:
        run()
    assert sorted(folder.parent.glob("*")) == before
    message = str(caught.value)
    assert "\n" not in message
    assert re.search("[;:] (give|choose|convert|mend|remove|check|name|run|save) ", message), (
        message
    )
    return message


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2"])
def test_npy_is_copied_bit_for_bit(tmp_path: Path, folder: Path, dtype: str) -> None:
    data = (grey(SHAPE).astype(float) * 1.37).astype(dtype)
    np.save(tmp_path / "array.npy", data)
    ingest(tmp_path / "array.npy", to(folder), NM, chunk=16)
    np.testing.assert_array_equal(whole(folder).data, data)
    assert Volume(to(folder), 0).info.dtype == np.dtype(dtype).name
    assert list(folder.parent.iterdir()) == [folder]


def test_offset_voxel_size_and_chunk_reach_the_volume(npy: Path, folder: Path) -> None:
    ingest(npy, to(folder), (40.0, 4.5, 4.0), chunk=8, offset=(3, 5, 7))
    info = Volume(to(folder), 0).info
    assert info.bounds == Box((3, 5, 7), (23, 45, 43))
    assert info.voxel_size_nm == (40.0, 4.5, 4.0)
    assert info.chunk_shape == (8, 8, 8)
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
    ingest(tmp_path / "stack", to(folder), NM, chunk=16, axes=axes)
    np.testing.assert_array_equal(whole(folder).data, data)


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_array_is_copied(
    tmp_path: Path, folder: Path, data: np.ndarray, version: Any
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(7, 9, 11), zarr_format=version)
    ingest(tmp_path / "a.zarr", to(folder), NM, chunk=16)
    np.testing.assert_array_equal(whole(folder).data, data)


def test_of_an_ome_zarr_image_level_0_is_copied(
    tmp_path: Path, folder: Path, data: np.ndarray
) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("s1", data=data[::2, ::2, ::2])
    group.create_array("s0", data=data)
    group.attrs["ome"] = {"multiscales": [{"datasets": [{"path": "s0"}, {"path": "s1"}]}]}
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


def test_any_static_server_can_serve_the_result(npy: Path, folder: Path, data: np.ndarray) -> None:
    ingest(npy, to(folder), NM, chunk=16)
    with serve(folder) as server:
        volume = Volume(server.url, 0)
        np.testing.assert_array_equal(volume.read(volume.info.bounds).data, data)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask  # readable by the server's user


def test_the_volume_says_where_it_came_from(npy: Path, folder: Path) -> None:
    ingest(npy, to(folder), NM, chunk=16)
    assert str(npy) in (folder / "provenance").read_text()


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
        ({"offset": (0, -1, 0)}, "offset (0, -1, 0)"),
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
    assert tifffile.logger().handlers == []


def test_images_of_another_shape_are_refused_and_nothing_is_left(
    tmp_path: Path, folder: Path, data: np.ndarray
) -> None:
    (tmp_path / "stack").mkdir()
    for number, image in enumerate(data):
        cut = image[1:] if number == 17 else image  # in the second slab: one is written by then
        tifffile.imwrite(tmp_path / "stack" / f"{number}.tif", cut)
    url = to(folder)
    message = refused(lambda: ingest(tmp_path / "stack", url, NM, chunk=16), folder)
    assert "image 17 is (39, 36) uint8" in message


def test_tifffile_is_asked_for_by_name(
    tmp_path: Path, folder: Path, data: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", data)
    load = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "tifffile":
            raise ImportError(name)
        return load(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    url = to(folder)
    message = refused(lambda: ingest(tmp_path / "stack.tif", url, NM), folder)
    assert "pip install tifffile" in message


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


def test_in_a_bucket_the_info_comes_last(npy: Path, data: np.ndarray) -> None:
    url = "precomputed://mem://ddgm/em"

    def fail(done: int, total: int) -> None:
        if done == total:
            raise ConnectionError("gone")

    with pytest.raises(DdgmError, match="mem://ddgm/em: cannot be written"):
        ingest(npy, url, NM, chunk=16, progress=fail)
    with pytest.raises(DdgmError, match="not found"):
        _ = Volume(url, 0).info
    ingest(npy, url, NM, chunk=16)
    volume = Volume(url, 0)
    np.testing.assert_array_equal(volume.read(volume.info.bounds).data, data)
    with pytest.raises(DdgmError, match="exists"):
        ingest(npy, url, NM, chunk=16)
