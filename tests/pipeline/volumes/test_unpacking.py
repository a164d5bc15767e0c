"""A chunk of a few kilobytes that unpacks to far more than its voxels is refused by its name.

Each of them is made by the codec's own writer, and would unpack to megabytes of zeros."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import simplejpeg
import tensorstore
import zarr
from numcodecs.checksum32 import CRC32C
from PIL import Image
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.codecs import numcodecs as filters

from ddgm.core.errors import DdgmError
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.ingest import ingest
from ddgm.pipeline.volumes.limits.images import check_pixels
from ddgm.pipeline.volumes.limits.unpack import TooLargeError
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.sample_volumes import chunk_file, grey, write_volume
from tests.pipeline.volumes.ome_images import write_ome
from tests.pipeline.volumes.sources import SHAPE, failure

ZEROS = bytes(3 * 10**6)
ALL = Box((0, 0, 0), SHAPE)
CODECS: dict[str, Any] = {
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
    "zstd": numcodecs.Zstd(),
    "blosc": numcodecs.Blosc(),
    "lz4": numcodecs.LZ4(),
}
V3: dict[str, Any] = {"gzip": GzipCodec(), "zstd": ZstdCodec(), "blosc": BloscCodec()}


def bomb(name: str) -> bytes:
    """3 MB of zeros, packed."""
    return bytes(CODECS[name].encode(np.frombuffer(ZEROS, np.uint8)))


def refused(path: Path, key: str) -> None:
    message = failure(lambda: open_volume(str(path), missing=0).read(ALL), "corrupt")
    assert f"box z 16:32, y 16:32, x 16:32: corrupt: TooLargeError: {key}: " in message
    assert "a chunk unpacks to more than" in message


@pytest.mark.parametrize("name", CODECS)
def test_a_chunk_of_zarr_2_unpacks_to_its_size_at_most(
    tmp_path: Path, data: np.ndarray, name: str
) -> None:
    options: Any = {"chunks": (16, 16, 16), "compressors": CODECS[name]}
    options["filters"] = [numcodecs.Delta("u1"), numcodecs.Shuffle(1)]
    path = write_ome(tmp_path / "em.zarr", data, version=2, **options)
    np.testing.assert_array_equal(open_volume(str(path)).read(ALL).data, data)
    (path / "s0/1.1.1").write_bytes(bomb(name))
    refused(path, "s0/1.1.1")


@pytest.mark.parametrize("name", V3)
def test_a_chunk_of_zarr_3_unpacks_to_its_size_at_most(
    tmp_path: Path, data: np.ndarray, name: str
) -> None:
    path = write_ome(tmp_path / "em.zarr", data, chunks=(16, 16, 16), compressors=V3[name])
    (path / "s0/c/1/1/1").write_bytes(bomb(name))
    refused(path, "s0/c/1/1/1")


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
def test_a_codec_of_numcodecs_in_zarr_3_is_held_to_the_same(
    tmp_path: Path, data: np.ndarray
) -> None:
    packed: Any = [filters.Zlib(), filters.CRC32()]
    path = write_ome(tmp_path / "em.zarr", data, chunks=(16, 16, 16), compressors=packed)
    np.testing.assert_array_equal(open_volume(str(path)).read(ALL).data, data)
    checked: Any = numcodecs.CRC32().encode(np.frombuffer(bomb("zlib"), np.uint8))
    (path / "s0/c/1/1/1").write_bytes(bytes(checked))
    refused(path, "s0/c/1/1/1")


def test_frames_of_zstd_without_a_size_are_held_to_it(tmp_path: Path, data: np.ndarray) -> None:
    import zstandard

    def frame(content: bytes) -> bytes:
        packer = zstandard.ZstdCompressor().compressobj()
        return packer.compress(content) + packer.flush()

    path = write_ome(tmp_path / "em.zarr", data, chunks=(16, 16, 16), compressors=ZstdCodec())
    chunk = path / "s0/c/1/1/1"
    whole = np.ascontiguousarray(data[16:32, 16:32, 16:32]).tobytes()
    chunk.write_bytes(frame(whole[:1000]) + frame(whole[1000:]))
    np.testing.assert_array_equal(open_volume(str(path)).read(ALL).data, data)
    chunk.write_bytes(frame(ZEROS))
    refused(path, "s0/c/1/1/1")


def test_a_chunk_in_a_shard_unpacks_to_its_size_at_most(tmp_path: Path, data: np.ndarray) -> None:
    options: Any = {"shards": (16, 16, 16), "chunks": (8, 8, 8), "compressors": ZstdCodec()}
    path = write_ome(tmp_path / "em.zarr", data, **options)
    packed = bomb("zstd")
    places = np.tile(np.array([[0, len(packed)]], "<u8"), (8, 1))
    index: Any = CRC32C(location="end").encode(places)
    (path / "s0/c/1/1/1").write_bytes(packed + bytes(index))
    refused(path, "s0/c/1/1/1")


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_ingested_is_held_to_the_same(
    tmp_path: Path, data: np.ndarray, version: Any
) -> None:
    options: Any = {"compressors": V3["gzip"] if version == 3 else CODECS["gzip"]}
    path = write_ome(tmp_path / "em.zarr", data, version=version, chunks=(16, 16, 16), **options)
    (path / ("s0/1.1.1" if version == 2 else "s0/c/1/1/1")).write_bytes(bomb("gzip"))
    with pytest.raises(DdgmError, match="a chunk unpacks to more than"):
        ingest(path, f"precomputed://file://{tmp_path}/out", (8.0, 8.0, 8.0))


def test_a_codec_without_a_bound_is_refused_by_name(tmp_path: Path, data: np.ndarray) -> None:
    path = write_ome(tmp_path / "em.zarr", data, version=2, compressors=None)
    said = json.loads((path / "s0/.zarray").read_text())
    said["filters"] = [{"id": "categorize", "labels": ["a"], "dtype": "O"}]
    (path / "s0/.zarray").write_text(json.dumps(said))
    assert isinstance(zarr.open(path / "s0", mode="r"), zarr.Array)
    assert "the codec categorize" in failure(lambda: open_volume(str(path)).info, "unsupported")


def test_a_jpeg_has_no_more_pixels_than_its_chunk_voxels(tmp_path: Path) -> None:
    write_volume(tmp_path / "em", grey(SHAPE), encoding="jpeg")
    volume = f"precomputed://file://{tmp_path / 'em'}"
    assert open_volume(volume).read(ALL).data.shape == SHAPE
    large = simplejpeg.encode_jpeg(np.zeros((5000, 5000, 1), np.uint8), colorspace="GRAY")
    chunk_file(tmp_path / "em", (16, 16, 16)).write_bytes(large)
    message = failure(lambda: open_volume(volume).read(ALL), "corrupt")
    assert "box z 16:32, y 16:32, x 16:32" in message
    assert "5000 x 5000 pixels in place of 4096 voxels" in message


def test_nor_has_a_png() -> None:
    file = io.BytesIO()
    Image.new("L", (300, 200)).save(file, "png")
    check_pixels(file.getvalue(), "png", 60000)
    with pytest.raises(TooLargeError, match="300 x 200 pixels"):
        check_pixels(file.getvalue(), "png", 59999)


def test_a_chunk_of_a_sharded_precomputed_volume_is_held_to_the_same(tmp_path: Path) -> None:
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 0, "minishard_bits": 0,
        "shard_bits": 0, "hash": "identity", "data_encoding": "gzip",
    }  # fmt: skip
    scale = {
        "size": [320] * 3, "chunk_size": [320] * 3, "encoding": "raw", "resolution": [8] * 3,
        "sharding": sharding,
    }  # fmt: skip
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(tmp_path / "em")},
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
        "scale_metadata": scale,
    }
    written = tensorstore.open(spec, create=True).result()
    written.write(np.ones((320, 320, 320, 1), np.uint8)).result()
    info = json.loads((tmp_path / "em/info").read_text())
    info["scales"][0] |= {"size": [16] * 3, "chunk_sizes": [[16] * 3]}
    (tmp_path / "em/info").write_text(json.dumps(info))
    box = Box((0, 0, 0), (16, 16, 16))
    volume = open_volume(f"precomputed://file://{tmp_path / 'em'}")
    assert "unpacks to more than" in failure(lambda: volume.read(box), "corrupt")
