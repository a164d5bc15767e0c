"""A source takes no more bytes and no more time than it can need, and whole files are not damaged.

Servers here go on for ever: without a limit a test would not end, or fill the memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from functools import cache
from http.server import SimpleHTTPRequestHandler
from itertools import count
from pathlib import Path

import brotli
import numpy as np
import pytest
import tensorstore
import zstandard

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.cloudvolume_fixes import bound_http
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.sample_volumes import chunk_file, grey, serve
from tests.pipeline.volumes.ome_images import write_ome
from tests.pipeline.volumes.sources import ALL, CHUNK, failure, local

pytestmark = pytest.mark.usefixtures("short_waits")

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def endless(request: SimpleHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in count():
        request.wfile.write(bytes(2**20))


def trickle(request: SimpleHTTPRequestHandler) -> None:
    """A byte now and then, each well within the time-out between two."""
    request.send_response(200)
    request.send_header("Content-Length", str(10**6))
    request.end_headers()
    _drip(request)


def trickle_headers(request: SimpleHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(request)


def _drip(request: SimpleHTTPRequestHandler) -> None:
    state = request.state  # pyright: ignore[reportAttributeAccessIssue]
    while not state.released.wait(0.05):
        request.wfile.write(b"x")
        request.wfile.flush()


@cache
def packed_zeros() -> bytes:
    return gzip.compress(bytes(10**8))


def bomb(request: SimpleHTTPRequestHandler) -> None:
    """100 MB of zeros in 100 kB."""
    body = packed_zeros()
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


@pytest.mark.server
@pytest.mark.parametrize("path", ["info", "8_8_8"])
@pytest.mark.parametrize(
    ("answer", "kind", "fault"),
    [
        (endless, "corrupt", "MB came"),
        (bomb, "corrupt", "unpacks to more than"),
        (trickle, "unreachable", "not all there after"),
        (trickle_headers, "unreachable", "no answer began in"),
    ],
)
def test_what_does_not_end_is_given_up(
    folder: Path,
    path: str,
    answer: Callable[[SimpleHTTPRequestHandler], None],
    kind: str,
    fault: str,
) -> None:
    packed_zeros()  # once, and not while the client waits
    total = 2.0 if kind == "unreachable" else 120.0
    bound_http(connect=30.0, read=30.0, attempts=1, total=total)
    with serve(folder) as server:
        server.faults[path] = answer
        assert fault in failure(lambda: open_volume(server.url, missing=0).read(ALL), kind)


@pytest.mark.server
def test_zarr_is_held_to_the_same(tmp_path: Path, data: np.ndarray) -> None:
    bound_http(connect=30.0, read=30.0, attempts=1)
    write_ome(tmp_path / "em.zarr", data, chunks=(16, 16, 16))
    box = Box((0, 0, 0), (16, 16, 16))
    with serve(tmp_path) as server:
        url = f"zarr3://{server.address}/em.zarr"
        for path in ("zarr.json", "c/0/0/0"):
            server.faults = {path: endless}
            assert "MB came" in failure(lambda: open_volume(url).read(box), "corrupt")


@pytest.mark.parametrize("extension", PACK)
def test_files_in_every_compression_are_read(
    folder: Path, data: np.ndarray, extension: str
) -> None:
    path = chunk_file(folder, CHUNK)
    whole = path.read_bytes()
    path.unlink()
    packed = path.with_name(f"{path.name}.{extension}")
    packed.write_bytes(PACK[extension](whole))
    np.testing.assert_array_equal(open_volume(local(folder)).read(ALL).data, data)
    packed.write_bytes(PACK[extension](whole)[:-30])
    failure(lambda: open_volume(local(folder), missing=0).read(ALL), "corrupt")
    packed.write_bytes(PACK[extension](bytes(2 * 10**7)))
    assert "unpacks to more than" in failure(
        lambda: open_volume(local(folder)).read(ALL), "corrupt"
    )


@pytest.mark.server
def test_a_server_without_ranges_is_told_from_damage(tmp_path: Path) -> None:
    """Python's http.server answers a Range request with the whole file."""
    data = grey((32, 32, 32))
    store = {"driver": "file", "path": str(tmp_path / "em")}
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 1,
        "minishard_bits": 1,
        "shard_bits": 1,
        "hash": "identity",
    }
    scale = {
        "size": [32, 32, 32],
        "chunk_size": [16, 16, 16],
        "encoding": "raw",
        "resolution": [8, 8, 8],
        "sharding": sharding,
    }
    spec = {"driver": "neuroglancer_precomputed", "kvstore": store, "scale_metadata": scale}
    metadata = {"type": "image", "data_type": "uint8", "num_channels": 1}
    made = tensorstore.open(spec | {"multiscale_metadata": metadata}, create=True).result()
    made[..., 0].write(data.T).result()
    box = Box((0, 0, 0), (32, 32, 32))
    np.testing.assert_array_equal(open_volume(local(tmp_path / "em")).read(box).data, data)
    with serve(tmp_path / "em") as server:
        message = failure(lambda: open_volume(server.url).read(box), "unsupported")
    assert "knows Range requests" in message
    assert "restore" not in message


@pytest.mark.parametrize("error", [AttributeError("x"), TypeError("x"), KeyError("x")])
def test_a_librarys_own_error_is_not_called_damage(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cloudvolume.chunks

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cloudvolume.chunks, "decode", fail)
    assert "restore" not in failure(lambda: open_volume(local(folder)).read(ALL), "library")
