"""Volumes behind HTTP and in buckets: servers that deny, fail and hang."""

from __future__ import annotations

import gc
import time
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.cloudvolume_fixes import bound_http
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.sample_volumes import chunk_file, serve
from tests.pipeline.volumes.ome_images import write_ome
from tests.pipeline.volumes.sources import ALL, CHUNK, SHAPE, failure, local

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("short_waits")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_half_a_set_of_aws_keys_is_a_matter_of_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    message = failure(lambda: open_volume("precomputed://s3://ddgm-none/em", 0).info, "credentials")
    assert "AWS_SESSION_TOKEN" in message
    gc.collect()  # the library's half-made pool complains where it is collected


def test_http_is_read_bit_for_bit_like_the_files(folder: Path, data: np.ndarray) -> None:
    with serve(folder) as server:
        volume = open_volume(server.url, 0)
        assert volume.info == open_volume(local(folder), 0).info
        np.testing.assert_array_equal(volume.read(ALL).data, data)


def test_a_chunk_missing_over_http_is_an_error_or_filled(folder: Path, data: np.ndarray) -> None:
    chunk_file(folder, CHUNK).unlink()
    data[16:32, 16:32, 16:32] = 9
    with serve(folder) as server:
        failure(lambda: open_volume(server.url, 0).read(ALL), "missing")
        cutout = open_volume(server.url, 0, missing=9).read(ALL)
    np.testing.assert_array_equal(cutout.data, data)
    assert cutout.missing_voxels == 16**3


@pytest.mark.parametrize(
    ("path", "fault", "kind"),
    [
        ("info", 404, "not_found"),
        ("info", 403, "credentials"),
        ("info", 500, "unreachable"),
        ("8_8_8", 403, "credentials"),
        ("8_8_8", 401, "credentials"),
        ("8_8_8", 503, "unreachable"),
        ("8_8_8", "cut", "unreachable"),
        ("8_8_8", "hang", "unreachable"),
    ],
)
def test_http_failures_are_told_apart_and_none_is_filled(
    folder: Path, path: str, fault: int | str, kind: str
) -> None:
    with serve(folder) as server:
        server.faults[path] = fault
        message = failure(lambda: open_volume(server.url, 0, missing=0).read(ALL), kind)
        assert server.address in message


def page(request: SimpleHTTPRequestHandler) -> None:
    """A login, with the status of a file that is there."""
    request.send_response(200)
    request.send_header("Content-Type", "text/html")
    request.end_headers()
    request.wfile.write(b"\n<!DOCTYPE html><html><body>Log in</body></html>" + bytes(4096))


@pytest.mark.parametrize("path", ["info", "8_8_8"])
def test_a_page_in_place_of_a_file_is_told_from_damage(folder: Path, path: str) -> None:
    with serve(folder) as server:
        server.faults[path] = page
        message = failure(lambda: open_volume(server.url, 0, missing=0).read(ALL), "not_found")
    assert "the server answers with a web page" in message


@pytest.mark.parametrize("path", ["zarr.json", "c/1/1/1"])
def test_a_page_in_place_of_a_file_of_zarr_is_too(
    tmp_path: Path, data: np.ndarray, path: str
) -> None:
    write_ome(tmp_path / "em.zarr", data, chunks=(16, 16, 16))
    box = Box((0, 0, 0), SHAPE)
    with serve(tmp_path) as server:
        server.faults[path] = page
        volume = open_volume(f"zarr3://{server.address}/em.zarr", missing=0)
        message = failure(lambda: volume.read(box), "not_found")
    assert "the server answers with a web page" in message


def test_a_server_that_hangs_is_given_up_after_the_allowed_attempts(folder: Path) -> None:
    with serve(folder) as server:
        server.faults["info"] = "hang"
        failure(lambda: open_volume(server.url, 0).info, "unreachable")
        assert server.requests == ["/info"] * 2  # the attempts


def test_a_chunk_is_missing_though_another_was_denied_before(folder: Path) -> None:
    chunk_file(folder, CHUNK).unlink()
    with serve(folder) as server:
        volume = open_volume(server.url, 0)
        server.faults["23-39_22-38_21-37"] = 403
        failure(lambda: volume.read(ALL), "credentials")
        server.faults.clear()
        failure(lambda: volume.read(ALL), "missing")


def test_a_server_that_refuses_connections_is_unreachable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(folder) as server:
        url = server.url
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    bound_http(attempts=3, backoff=0.0)
    failure(lambda: open_volume(url, 0).info, "unreachable")
    assert waits == [0.0, 0.0]
