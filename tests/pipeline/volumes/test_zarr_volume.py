"""OME-Zarr as a source: the voxels, their size and their place, as the metadata have them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.coordinates import centre_of
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import Volume
from ddgm.pipeline.volumes.zarr_volume import is_zarr
from tests.pipeline.sample_volumes import grey, serve
from tests.pipeline.volumes.ome_images import write_ome
from tests.pipeline.volumes.sources import SHAPE, failure

ALL = Box((0, 0, 0), SHAPE)
V2 = {"name": "v2", "separator": "."}
SLASHED = {"name": "v2", "separator": "/"}


@pytest.mark.parametrize(
    ("version", "options"),
    [
        (2, {"compressors": None}),
        (2, {"compressors": numcodecs.Zstd(), "chunk_key_encoding": SLASHED}),
        (2, {"compressors": numcodecs.Blosc("lz4"), "chunk_key_encoding": V2}),
        (2, {"compressors": numcodecs.GZip(), "order": "F"}),
        (3, {"compressors": None, "chunk_key_encoding": {"name": "default", "separator": "."}}),
        (3, {"compressors": GzipCodec()}),
        (3, {"compressors": BloscCodec(), "chunk_key_encoding": V2}),
        (3, {"compressors": ZstdCodec(), "shards": (32, 32, 32)}),
        (3, {"compressors": None, "shards": (48, 48, 48)}),
    ],
)
@pytest.mark.parametrize("scheme", ["zarr{version}://file://{path}", "zarr://{path}", "{path}"])
def test_voxels_are_read_bit_for_bit(
    tmp_path: Path, data: np.ndarray, version: int, options: dict[str, Any], scheme: str
) -> None:
    path = write_ome(tmp_path / "em.zarr", data, version=version, chunks=(16, 16, 16), **options)
    volume = open_volume(scheme.format(version=version, path=path))
    assert (volume.info.bounds, volume.info.chunk_shape) == (ALL, (16, 16, 16))
    np.testing.assert_array_equal(volume.read(ALL).data, data)
    box = Box((3, 15, 17), (33, 36, 18))
    cutout = volume.read(box)
    np.testing.assert_array_equal(cutout.data, data[box.slices()])
    assert cutout.data.flags.c_contiguous


@pytest.mark.parametrize("axes", ["xyz", "tczyx", "tcxyz"])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
def test_any_order_of_axes_is_read_as_z_y_x(
    tmp_path: Path, data: np.ndarray, axes: str, dtype: str
) -> None:
    space = [a for a in axes if a in "zyx"]
    array = data.astype(dtype).transpose(["zyx".index(a) for a in space])
    array = array.reshape([1] * (len(axes) - 3) + list(array.shape))
    sizes = {"z": 40.0, "y": 4.0, "x": 9.8}
    path = write_ome(
        tmp_path / "em.zarr",
        array,
        axes=axes,
        scale=[sizes[a] for a in space],
        translation=[10 * sizes[a] for a in space],
    )
    volume = open_volume(str(path))
    assert volume.info.voxel_size_nm == (40.0, 4.0, 9.8)
    assert volume.info.dtype == np.dtype(dtype).name
    assert place(volume) == (400.0, 40.0, 98.0)
    np.testing.assert_array_equal(volume.read(ALL).data, data)


def place(volume: Volume) -> tuple[float, float, float]:
    """The centre of the first voxel."""
    info = volume.info
    return centre_of(info.bounds.start, info.voxel_size_nm, info.origin_nm)


def test_size_and_place_are_those_of_the_metadata_in_any_unit(
    tmp_path: Path, data: np.ndarray
) -> None:
    path = write_ome(
        tmp_path / "em.zarr",
        data,
        unit="micrometer",
        scale=(0.04, 0.0049, 0.016),
        translation=(0.64, -0.0033, 0.0),
        coarser=data[::2, ::2, ::2],
    )
    volume = open_volume(str(path))
    assert volume.info.voxel_size_nm == (40.0, 4.9, 16.0)
    assert place(volume) == (640.0, -3.3, 0.0)
    coarse = open_volume(str(path), 1)
    assert coarse.info.voxel_size_nm == (80.0, 9.8, 32.0)
    np.testing.assert_array_equal(coarse.read(coarse.info.bounds).data, data[::2, ::2, ::2])
    assert "mip 0 (40 x 4.9 x 16 nm), mip 1 (80 x 9.8 x 32 nm)" in failure(
        lambda: open_volume(str(path), 2).info, "mip"
    )


def test_another_reader_has_the_same_voxels(tmp_path: Path, data: np.ndarray) -> None:
    path = write_ome(tmp_path / "em.zarr", data, chunks=(16, 16, 16), shards=(32, 32, 32))
    store = {"driver": "file", "path": f"{path}/s0"}
    other = tensorstore.open({"driver": "zarr3", "kvstore": store}).result().read().result()
    np.testing.assert_array_equal(open_volume(str(path)).read(ALL).data, other)


@pytest.mark.parametrize(("version", "sharded"), [(2, False), (3, False), (3, True)])
def test_a_chunk_that_is_not_stored_is_missing(
    tmp_path: Path, data: np.ndarray, version: int, sharded: bool
) -> None:
    options: dict[str, Any] = {"shards": (16, 16, 16), "chunks": (8, 8, 8)} if sharded else {}
    options = options or {"chunks": (16, 16, 16)}
    path = write_ome(tmp_path / "em.zarr", data, version=version, **options)
    chunk = path / "s0" / ("1.1.1" if version == 2 else "c/1/1/1")
    chunk.unlink()
    message = failure(lambda: open_volume(str(path)).read(ALL), "missing")
    assert ("1.1.1" if version == 2 else "c/1/1/1") in message
    cutout = open_volume(str(path), missing=9).read(ALL)
    data[16:32, 16:32, 16:32] = 9
    np.testing.assert_array_equal(cutout.data, data)
    assert cutout.missing_voxels == 16**3


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_chunk_cut_short_is_corrupt_and_not_filled(
    tmp_path: Path, data: np.ndarray, sharded: bool, kept: int
) -> None:
    options: dict[str, Any] = {"shards": (16, 16, 16), "chunks": (8, 8, 8)} if sharded else {}
    options = options or {"chunks": (16, 16, 16)}
    path = write_ome(tmp_path / "em.zarr", data, **options)
    chunk = path / "s0/c/1/1/1"
    chunk.write_bytes(chunk.read_bytes()[:kept])
    failure(lambda: open_volume(str(path), missing=0).read(ALL), "corrupt")


@pytest.mark.server
def test_http_is_read_like_the_files(tmp_path: Path, data: np.ndarray) -> None:
    path = write_ome(tmp_path / "em.zarr", data, chunks=(16, 16, 16))
    (path / "s0/c/1/1/1").unlink()
    with serve(tmp_path) as server:
        url = f"zarr3://{server.address}/em.zarr"
        volume = open_volume(url)
        assert volume.info == open_volume(str(path)).info
        failure(lambda: volume.read(ALL), "missing")
        assert open_volume(url, missing=9).read(ALL).missing_voxels == 16**3
        server.faults["c/1/1/1"] = 403
        failure(lambda: open_volume(url, missing=9).read(ALL), "credentials")
        failure(lambda: open_volume(f"{url}/none").info, "not_found")


def test_what_is_no_image_is_refused_with_a_remedy(tmp_path: Path, data: np.ndarray) -> None:
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    group.create_array("a", data=data)
    assert "no OME image" in failure(
        lambda: open_volume(str(tmp_path / "group.zarr")).info, "unsupported"
    )
    array = str(tmp_path / "group.zarr/a")
    assert "outside an OME image" in failure(lambda: open_volume(array).info, "unsupported")
    failure(lambda: open_volume(str(tmp_path / "none.zarr")).info, "not_found")
    path = write_ome(tmp_path / "em.zarr", data, unit=None)
    assert "no unit" in failure(lambda: open_volume(str(path)).info, "unsupported")
    path = write_ome(tmp_path / "two.zarr", np.stack([data, data])[None], axes="tczyx")
    assert "lengths 1, 2" in failure(lambda: open_volume(str(path)).info, "unsupported")
    path = write_ome(tmp_path / "bool.zarr", data > 9)
    failure(lambda: open_volume(str(path)).info, "unsupported")


def test_metadata_that_cannot_be_parsed_are_corrupt(tmp_path: Path, data: np.ndarray) -> None:
    path = write_ome(tmp_path / "em.zarr", data)
    (path / "zarr.json").write_text("{")
    failure(lambda: open_volume(str(path)).info, "corrupt")


def test_it_pickles_as_its_fields(tmp_path: Path, data: np.ndarray) -> None:
    volume = open_volume(str(write_ome(tmp_path / "em.zarr", data)), missing=3)
    volume.read(ALL)
    state = pickle.dumps(volume)
    assert len(state) < 500
    again = pickle.loads(state)
    assert again == volume
    np.testing.assert_array_equal(again.read(ALL).data, data)


def test_urls_of_zarr_are_told_from_others() -> None:
    for url in (
        "zarr://s3://bucket/em",
        "zarr2://https://host/em",
        "zarr3://file://em",
        "/data/em.ome.zarr",
        "file:///data/run/volume.zarr/truth/",
        "https://host/em.zarr|zarr3:",
        "em|zarr2:/",
    ):
        assert is_zarr(url), url
    for url in (
        "precomputed://file:///data/em.zarr",
        "precomputed://gs://bucket/em",
        "/data/em",
        "gs://bucket/em|neuroglancer-precomputed:",
        "n5://file:///data/em",
    ):
        assert not is_zarr(url), url


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_placed(tmp_path: Path, value: float) -> None:
    data = grey((12, 10, 8), "float32")
    data[5, 6, 7] = data[6, 0, 0] = data[11, 9, 7] = value
    path = write_ome(tmp_path / "em.zarr", data)
    box = Box((2, 0, 0), (12, 10, 8))
    message = failure(lambda: open_volume(str(path)).read(box), "invalid")
    assert "3 of 800 voxels are NaN or infinite, the first at z 5, y 6, x 7" in message
    read = open_volume(str(path), invalid=-1.5).read(box).data
    expected = np.where(np.isfinite(data), data, np.float32(-1.5))[2:]
    np.testing.assert_array_equal(read, expected)
