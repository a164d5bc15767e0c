"""Volumes in files: read bit for bit, and every fault told apart."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.sample_volumes import chunk_file, grey, write_volume
from tests.pipeline.volumes.sources import ALL, CHUNK, OFFSET, SHAPE, failure, local

pytestmark = pytest.mark.usefixtures("short_waits")


def test_info_is_in_z_y_x_order(tmp_path: Path) -> None:
    data = grey((10, 20, 30), "uint16")
    url = write_volume(
        tmp_path / "em", data, chunk=(4, 8, 16), offset=(1, 2, 3), voxel_size_nm=(40, 5, 6)
    )
    info = open_volume(url, 0).info
    assert info.bounds == Box((1, 2, 3), (11, 22, 33))
    assert info.voxel_size_nm == (40.0, 5.0, 6.0)
    assert info.chunk_shape == (4, 8, 16)
    assert (info.dtype, info.channels, info.mip) == ("uint16", 1, 0)


def test_raw_is_read_bit_for_bit_at_an_offset_across_chunks(folder: Path, data: np.ndarray) -> None:
    cutout = open_volume(local(folder), 0).read(Box((6, 10, 8), (40, 42, 39)))
    np.testing.assert_array_equal(cutout.data, data[1:35, 4:36, 1:32])
    assert cutout.data.dtype == np.uint8
    assert cutout.data.flags.c_contiguous
    assert cutout.missing_voxels == 0


def test_one_voxel_is_a_cutout_too(folder: Path, data: np.ndarray) -> None:
    cutout = open_volume(local(folder), 0).read(Box((9, 9, 9), (10, 10, 10)))
    assert cutout.data.shape == (1, 1, 1)
    assert cutout.data[0, 0, 0] == data[4, 3, 2]


def test_jpeg_is_read_to_within_its_loss(tmp_path: Path) -> None:
    z, y, x = np.indices(SHAPE)
    data = (z + 2 * y + 3 * x).astype(np.uint8)  # smooth, and unlike its transposes
    url = write_volume(tmp_path / "em", data, encoding="jpeg")
    read = open_volume(url, 0).read(Box((0, 0, 0), SHAPE)).data
    assert np.abs(read.astype(int) - data).max() <= 6


def test_mip_1_is_read_in_its_own_voxels(tmp_path: Path, data: np.ndarray) -> None:
    coarser = grey((20, 18, 16), seed=1)
    url = write_volume(tmp_path / "em", data, offset=(4, 6, 8), coarser=coarser)
    volume = open_volume(url, 1)
    assert volume.info.bounds == Box((2, 3, 4), (22, 21, 20))
    assert volume.info.voxel_size_nm == (16.0, 16.0, 16.0)
    np.testing.assert_array_equal(volume.read(volume.info.bounds).data, coarser)


@pytest.mark.parametrize("mip", [2, -1])
def test_a_missing_mip_lists_those_that_exist(tmp_path: Path, data: np.ndarray, mip: int) -> None:
    url = write_volume(tmp_path / "em", data, coarser=grey((20, 18, 16)))
    message = failure(lambda: open_volume(url, mip).info, "mip")
    assert f"{url}, mip {mip}" in message
    assert "mip 0 (8 x 8 x 8 nm), mip 1 (16 x 16 x 16 nm)" in message


@pytest.mark.parametrize(
    "box", [Box((4, 6, 7), (20, 20, 20)), Box((5, 6, 7), (46, 7, 8)), Box((9, 9, 9), (9, 10, 10))]
)
def test_a_box_outside_the_bounds_or_empty_names_the_bounds(folder: Path, box: Box) -> None:
    message = failure(lambda: open_volume(local(folder), 0).read(box), "bounds")
    assert f"box {box}" in message
    assert str(ALL) in message


def test_a_url_that_is_none_is_not_found() -> None:
    failure(
        lambda: open_volume("", 0).info, "not_found"
    )  # of which the library tells in many lines


@pytest.mark.parametrize("protocol", ["precomputed://file://", "file://", ""])
def test_a_source_that_does_not_exist_is_not_found(tmp_path: Path, protocol: str) -> None:
    url = f"{protocol}{tmp_path}/none"
    assert url in failure(lambda: open_volume(url, 0).info, "not_found")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_info_file_is_corrupt(folder: Path) -> None:
    (folder / "info").write_text('{"scales": [')
    failure(lambda: open_volume(local(folder), 0).info, "corrupt")


def test_more_than_one_channel_is_refused(tmp_path: Path) -> None:
    url = write_volume(tmp_path / "em", np.stack([grey((8, 8, 8))] * 3, axis=3))
    assert "3 channels" in failure(lambda: open_volume(url, 0).info, "unsupported")


def test_a_missing_chunk_is_an_error_that_names_the_box(folder: Path) -> None:
    chunk_file(folder, CHUNK).unlink()
    volume = open_volume(local(folder), 0)
    message = failure(lambda: volume.read(ALL), "missing")
    assert f"{local(folder)}, mip 0, box {ALL}" in message
    assert "8_8_8/23-39_22-38_21-37" in message
    assert volume.read(Box(OFFSET, CHUNK)).missing_voxels == 0


def test_only_missing_chunks_are_filled_and_counted(folder: Path, data: np.ndarray) -> None:
    chunk_file(folder, CHUNK).unlink()
    chunk_file(folder, (37, 38, 7)).unlink()  # at the far edge: 8 x 4 x 16 voxels
    expected = data.copy()
    expected[16:32, 16:32, 16:32] = 0
    expected[32:, 32:, :16] = 0
    cutout = open_volume(local(folder), 0, missing=0).read(ALL)
    np.testing.assert_array_equal(cutout.data, expected)
    assert cutout.missing_voxels == 16**3 + 8 * 4 * 16
    box = Box((20, 30, 20), (30, 42, 30))  # a part of the first chunk: 9 x 8 x 7
    cutout = open_volume(local(folder), 0, missing=200).read(box)
    expected[16:32, 16:32, 16:32] = 200
    np.testing.assert_array_equal(cutout.data, expected[box.slices(OFFSET)])
    assert cutout.missing_voxels == 9 * 8 * 7


def test_a_fill_value_must_fit_the_dtype(folder: Path) -> None:
    message = failure(lambda: open_volume(local(folder), 0, missing=256).info, "unsupported")
    assert "missing: 256" in message


def test_chunks_outside_the_listed_regions_are_read_too(folder: Path, data: np.ndarray) -> None:
    info = folder / "info"
    info.write_text(info.read_text().replace('"key"', '"rois": [[0, 0, 0, 8, 8, 8]], "key"'))
    read = open_volume(local(folder), 0).read(Box((21, 22, 23), (45, 42, 39)))
    np.testing.assert_array_equal(read.data, data[16:, 16:, 16:])


def test_a_truncated_chunk_is_corrupt(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = chunk_file(folder, CHUNK)
    path.write_bytes(path.read_bytes()[:1000])
    box = Box(CHUNK, (37, 38, 39))
    assert f"box {box}:" in failure(lambda: open_volume(local(folder), 0).read(ALL), "corrupt")
    assert capfd.readouterr().out == ""  # the library prints what it raises


def test_a_truncated_chunk_is_not_filled_like_a_missing_one(folder: Path) -> None:
    chunk_file(folder, OFFSET).unlink()
    path = chunk_file(folder, CHUNK)
    path.write_bytes(path.read_bytes()[:1000])
    message = failure(lambda: open_volume(local(folder), 0, missing=0).read(ALL), "corrupt")
    assert f"box {Box(CHUNK, (37, 38, 39))}" in message


def test_an_empty_chunk_is_damaged_and_not_missing(folder: Path) -> None:
    """The library takes it for one that is not there; a full disk leaves such files."""
    chunk_file(folder, CHUNK).write_bytes(b"")
    for missing in (None, 0):
        failure(lambda given=missing: open_volume(local(folder), 0, given).read(ALL), "corrupt")


def test_a_truncated_jpeg_is_corrupt(tmp_path: Path, data: np.ndarray) -> None:
    url = write_volume(tmp_path / "em", data, encoding="jpeg")
    path = chunk_file(tmp_path / "em", (0, 0, 0))
    path.write_bytes(path.read_bytes()[:200])
    failure(lambda: open_volume(url, 0).read(Box((0, 0, 0), SHAPE)), "corrupt")


def test_a_codec_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cloudvolume.chunks

    url = write_volume(tmp_path / "em", grey((8, 8, 8)), encoding="jpeg")
    monkeypatch.setitem(cloudvolume.chunks.NEEDS_INSTALL, "jpeg", "simplejpeg")
    message = failure(lambda: open_volume(url, 0).read(Box((0, 0, 0), (8, 8, 8))), "unsupported")
    assert "pip install simplejpeg" in message


def test_volumes_and_their_errors_survive_pickling(folder: Path, data: np.ndarray) -> None:
    volume = open_volume(local(folder), 0, missing=3)
    volume.read(ALL)
    state = pickle.dumps(volume)
    assert len(state) < 500  # what it has opened stays behind
    again = pickle.loads(state)
    assert again == volume
    np.testing.assert_array_equal(again.read(ALL).data, data)
    error = pickle.loads(pickle.dumps(SourceError("gone", "unreachable")))
    assert (str(error), error.kind, error.is_retryable) == ("gone", "unreachable", True)


def write_n5(path: Path, data: np.ndarray, **attributes: Any) -> str:
    """An N5 volume of two levels with blocks of 16³, as another library writes it; its URL."""
    for number in range(2):
        level = data[:: 2**number, :: 2**number, :: 2**number]
        about: dict[str, Any] = {
            "dimensions": level.shape[::-1],
            "blockSize": [16, 16, 16],
            "dataType": "uint8",
            "compression": {"type": "gzip"},
        }
        store = {"driver": "file", "path": f"{path}/s{number}"}
        spec = {"driver": "n5", "kvstore": store, "metadata": about, "create": True}
        tensorstore.open(spec).result().write(level.T).result()
    (path / "attributes.json").write_text(json.dumps({"n5": "2.0.0", **attributes}))
    return f"n5://file://{path}"


@pytest.mark.parametrize(("unit", "nm"), [("nm", 1), ("um", 1000), (None, 1)])
def test_n5_is_read_in_its_own_unit(tmp_path: Path, unit: str | None, nm: int) -> None:
    data = grey((40, 37, 20))
    size = {"dimensions": [4.0, 8.0, 40.0], **({"unit": unit} if unit else {})}
    url = write_n5(
        tmp_path / "em", data, pixelResolution=size, downsamplingFactors=[[1, 1, 1], [2, 2, 2]]
    )
    for mip, wanted in ((0, data), (1, data[::2, ::2, ::2])):
        volume = open_volume(url, mip)
        sides = tuple(side * nm * 2**mip for side in (40.0, 8.0, 4.0))
        assert volume.info.voxel_size_nm == sides
        np.testing.assert_array_equal(volume.read(volume.info.bounds).data, wanted)
    (tmp_path / "em/s0/1/1/1").unlink()
    failure(lambda: open_volume(url).read(open_volume(url).info.bounds), "missing")


def test_n5_without_a_size_is_refused(tmp_path: Path) -> None:
    url = write_n5(tmp_path / "em", grey((40, 37, 20)))
    assert "add pixelResolution" in failure(lambda: open_volume(url).info, "unsupported")
    parsecs = {"dimensions": [1, 1, 1], "unit": "parsec"}
    factors = [[1, 1, 1], [2, 2, 2]]
    url = write_n5(
        tmp_path / "far", grey((40, 37, 20)), pixelResolution=parsecs, downsamplingFactors=factors
    )
    assert "parsec" in failure(lambda: open_volume(url).info, "unsupported")
