import gc
import pickle
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.cloudvolume_fixes import bound_http, cloud_volume
from ddgm.pipeline.volumes.volume import SourceError, Volume
from tests.pipeline.sample_volumes import chunk_file, grey, serve, write_volume

SHAPE = (40, 36, 32)
OFFSET = (5, 6, 7)
ALL = Box(OFFSET, (45, 42, 39))  # chunks of 16 start at z 5, 21, 37; y 6, 22, 38; x 7, 23
CHUNK = (21, 22, 23)


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    cloud_volume()
    bound_http(connect=2.0, read=0.3, attempts=2, backoff=0.01)
    yield
    bound_http()


@pytest.fixture
def data() -> np.ndarray:
    return grey(SHAPE)


@pytest.fixture
def folder(tmp_path: Path, data: np.ndarray) -> Path:
    write_volume(tmp_path / "em", data, offset=OFFSET)
    return tmp_path / "em"


def local(folder: Path) -> str:
    return f"precomputed://file://{folder}"


def failure(read: Callable[[], Any], kind: str) -> str:
    """The message of the SourceError that `read` raises, once its form has been checked."""
    with pytest.raises(SourceError) as caught:
        read()
    assert caught.value.kind == kind
    assert caught.value.retryable == (kind == "unreachable")
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert message.startswith("source ")
    assert "; " in message  # the remedy
    return message


def test_box_knows_its_shape_index_and_name() -> None:
    box = Box((2, 3, 4), (4, 6, 8))
    assert box.shape == (2, 3, 4)
    assert box.slices((1, 1, 1)) == (slice(1, 3), slice(2, 5), slice(3, 7))
    assert str(box) == "z 2:4, y 3:6, x 4:8"
    assert box.inside(box)
    assert not Box((2, 3, 3), (4, 6, 8)).inside(box)
    assert not Box((2, 3, 4), (4, 7, 8)).inside(box)


@pytest.mark.parametrize(
    "box", [Box((0, 0, 0), (7, 9, 8)), Box((-3, 2, 1), (1, 3, 9)), Box((4, 4, 4), (5, 5, 5))]
)
def test_parts_of_a_box_tile_it_and_cross_no_chunk_border(box: Box) -> None:
    origin, chunk = (1, 2, 0), (3, 4, 8)
    seen = np.zeros(box.shape, int)
    for part in box.parts(origin, chunk):
        seen[part.slices(box.start)] += 1
        ranges = zip(part.start, part.stop, origin, chunk, strict=True)
        assert all((a - o) // c == (b - 1 - o) // c for a, b, o, c in ranges)
    assert (seen == 1).all()


def test_info_is_in_z_y_x_order(tmp_path: Path) -> None:
    data = grey((10, 20, 30), "uint16")
    url = write_volume(
        tmp_path / "em", data, chunk=(4, 8, 16), offset=(1, 2, 3), voxel_size_nm=(40, 5, 6)
    )
    info = Volume(url, 0).info
    assert info.bounds == Box((1, 2, 3), (11, 22, 33))
    assert info.voxel_size_nm == (40.0, 5.0, 6.0)
    assert info.chunk_shape == (4, 8, 16)
    assert (info.dtype, info.channels, info.mip) == ("uint16", 1, 0)


def test_raw_is_read_bit_for_bit_at_an_offset_across_chunks(folder: Path, data: np.ndarray) -> None:
    cutout = Volume(local(folder), 0).read(Box((6, 10, 8), (40, 42, 39)))
    np.testing.assert_array_equal(cutout.data, data[1:35, 4:36, 1:32])
    assert cutout.data.dtype == np.uint8
    assert cutout.data.flags.c_contiguous
    assert cutout.missing_voxels == 0


def test_one_voxel_is_a_cutout_too(folder: Path, data: np.ndarray) -> None:
    cutout = Volume(local(folder), 0).read(Box((9, 9, 9), (10, 10, 10)))
    assert cutout.data.shape == (1, 1, 1)
    assert cutout.data[0, 0, 0] == data[4, 3, 2]


def test_jpeg_is_read_to_within_its_loss(tmp_path: Path) -> None:
    z, y, x = np.indices(SHAPE)
    data = (z + 2 * y + 3 * x).astype(np.uint8)  # smooth, and unlike its transposes
    url = write_volume(tmp_path / "em", data, encoding="jpeg")
    read = Volume(url, 0).read(Box((0, 0, 0), SHAPE)).data
    assert np.abs(read.astype(int) - data).max() <= 6


def test_mip_1_is_read_in_its_own_voxels(tmp_path: Path, data: np.ndarray) -> None:
    coarser = grey((20, 18, 16), seed=1)
    url = write_volume(tmp_path / "em", data, offset=(4, 6, 8), coarser=coarser)
    volume = Volume(url, 1)
    assert volume.info.bounds == Box((2, 3, 4), (22, 21, 20))
    assert volume.info.voxel_size_nm == (16.0, 16.0, 16.0)
    np.testing.assert_array_equal(volume.read(volume.info.bounds).data, coarser)


@pytest.mark.parametrize("mip", [2, -1])
def test_a_missing_mip_lists_those_that_exist(tmp_path: Path, data: np.ndarray, mip: int) -> None:
    url = write_volume(tmp_path / "em", data, coarser=grey((20, 18, 16)))
    message = failure(lambda: Volume(url, mip).info, "mip")
    assert f"{url}, mip {mip}" in message
    assert "mip 0 (8 x 8 x 8 nm), mip 1 (16 x 16 x 16 nm)" in message


@pytest.mark.parametrize(
    "box", [Box((4, 6, 7), (20, 20, 20)), Box((5, 6, 7), (46, 7, 8)), Box((9, 9, 9), (9, 10, 10))]
)
def test_a_box_outside_the_bounds_or_empty_names_the_bounds(folder: Path, box: Box) -> None:
    message = failure(lambda: Volume(local(folder), 0).read(box), "bounds")
    assert f"box {box}" in message
    assert str(ALL) in message


def test_a_url_that_is_none_is_not_found() -> None:
    failure(lambda: Volume("", 0).info, "not_found")  # of which the library tells in many lines


@pytest.mark.parametrize("protocol", ["precomputed://file://", "file://", ""])
def test_a_source_that_does_not_exist_is_not_found(tmp_path: Path, protocol: str) -> None:
    url = f"{protocol}{tmp_path}/none"
    assert url in failure(lambda: Volume(url, 0).info, "not_found")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_info_file_is_corrupt(folder: Path) -> None:
    (folder / "info").write_text('{"scales": [')
    failure(lambda: Volume(local(folder), 0).info, "corrupt")


def test_more_than_one_channel_is_refused(tmp_path: Path) -> None:
    url = write_volume(tmp_path / "em", np.stack([grey((8, 8, 8))] * 3, axis=3))
    assert "3 channels" in failure(lambda: Volume(url, 0).info, "unsupported")


def test_a_missing_chunk_is_an_error_that_names_the_box(folder: Path) -> None:
    chunk_file(folder, CHUNK).unlink()
    volume = Volume(local(folder), 0)
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
    cutout = Volume(local(folder), 0, missing=0).read(ALL)
    np.testing.assert_array_equal(cutout.data, expected)
    assert cutout.missing_voxels == 16**3 + 8 * 4 * 16
    box = Box((20, 30, 20), (30, 42, 30))  # a part of the first chunk: 9 x 8 x 7
    cutout = Volume(local(folder), 0, missing=200).read(box)
    expected[16:32, 16:32, 16:32] = 200
    np.testing.assert_array_equal(cutout.data, expected[box.slices(OFFSET)])
    assert cutout.missing_voxels == 9 * 8 * 7


def test_a_fill_value_must_fit_the_dtype(folder: Path) -> None:
    message = failure(lambda: Volume(local(folder), 0, missing=256).info, "unsupported")
    assert "missing: 256" in message


def test_chunks_outside_the_listed_regions_are_read_too(folder: Path, data: np.ndarray) -> None:
    info = folder / "info"
    info.write_text(info.read_text().replace('"key"', '"rois": [[0, 0, 0, 8, 8, 8]], "key"'))
    read = Volume(local(folder), 0).read(Box((21, 22, 23), (45, 42, 39)))
    np.testing.assert_array_equal(read.data, data[16:, 16:, 16:])


def test_a_truncated_chunk_is_corrupt(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = chunk_file(folder, CHUNK)
    path.write_bytes(path.read_bytes()[:1000])
    assert f"box {ALL}" in failure(lambda: Volume(local(folder), 0).read(ALL), "corrupt")
    assert capfd.readouterr().out == ""  # the library prints what it raises


def test_a_truncated_chunk_is_not_filled_like_a_missing_one(folder: Path) -> None:
    chunk_file(folder, OFFSET).unlink()
    path = chunk_file(folder, CHUNK)
    path.write_bytes(path.read_bytes()[:1000])
    message = failure(lambda: Volume(local(folder), 0, missing=0).read(ALL), "corrupt")
    assert f"box {Box(CHUNK, (37, 38, 39))}" in message


def test_a_truncated_jpeg_is_corrupt(tmp_path: Path, data: np.ndarray) -> None:
    url = write_volume(tmp_path / "em", data, encoding="jpeg")
    path = chunk_file(tmp_path / "em", (0, 0, 0))
    path.write_bytes(path.read_bytes()[:200])
    failure(lambda: Volume(url, 0).read(Box((0, 0, 0), SHAPE)), "corrupt")


def test_a_codec_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cloudvolume.chunks

    url = write_volume(tmp_path / "em", grey((8, 8, 8)), encoding="jpeg")
    monkeypatch.setitem(cloudvolume.chunks.NEEDS_INSTALL, "jpeg", "simplejpeg")
    message = failure(lambda: Volume(url, 0).read(Box((0, 0, 0), (8, 8, 8))), "unsupported")
    assert "pip install simplejpeg" in message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_half_a_set_of_aws_keys_is_a_matter_of_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    message = failure(lambda: Volume("precomputed://s3://ddgm-none/em", 0).info, "credentials")
    assert "AWS_SESSION_TOKEN" in message
    gc.collect()  # the library's half-made pool complains where it is collected


def test_http_is_read_bit_for_bit_like_the_files(folder: Path, data: np.ndarray) -> None:
    with serve(folder) as server:
        volume = Volume(server.url, 0)
        assert volume.info == Volume(local(folder), 0).info
        np.testing.assert_array_equal(volume.read(ALL).data, data)


def test_a_chunk_missing_over_http_is_an_error_or_filled(folder: Path, data: np.ndarray) -> None:
    chunk_file(folder, CHUNK).unlink()
    data[16:32, 16:32, 16:32] = 9
    with serve(folder) as server:
        failure(lambda: Volume(server.url, 0).read(ALL), "missing")
        cutout = Volume(server.url, 0, missing=9).read(ALL)
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
        message = failure(lambda: Volume(server.url, 0, missing=0).read(ALL), kind)
        assert server.address in message


def test_a_server_that_hangs_is_given_up_in_bounded_time(folder: Path) -> None:
    with serve(folder) as server:
        server.faults["info"] = "hang"
        started = time.monotonic()
        failure(lambda: Volume(server.url, 0).info, "unreachable")
        assert time.monotonic() - started < 5
        assert server.requests == ["/info"] * 2  # the attempts


def test_a_chunk_is_missing_though_another_was_denied_before(folder: Path) -> None:
    chunk_file(folder, CHUNK).unlink()
    with serve(folder) as server:
        volume = Volume(server.url, 0)
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
    failure(lambda: Volume(url, 0).info, "unreachable")
    assert waits == [0.0, 0.0]


def test_a_volume_bounds_http_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudfiles.interfaces import HttpInterface
    from requests import Response
    from requests.adapters import HTTPAdapter

    timeouts = []

    def send(_: HTTPAdapter, request: Any, **options: Any) -> Response:
        timeouts.append(options["timeout"])
        raise ConnectionError

    monkeypatch.setattr(HttpInterface, "adaptor", HTTPAdapter())
    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    cloud_volume.cache_clear()  # as in a process that has read nothing yet
    failure(lambda: Volume("precomputed://http://127.0.0.1/em", 0).info, "unreachable")
    assert timeouts == [(5.0, 30.0)] * 4


@pytest.mark.parametrize("library", ["cloudvolume", "cloudfiles"])
def test_the_last_thread_to_fail_is_heard(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a chunk that could not be read comes back as zeros, when its error arrives late."""
    import cloudfiles.threaded_queue
    import cloudvolume.threaded_queue

    class Slow(queue.Queue):
        def put(self, item: Any, *args: Any, **options: Any) -> None:
            time.sleep(0.2 if isinstance(item, Exception) else 0)
            super().put(item, *args, **options)

    module = {"cloudvolume": cloudvolume, "cloudfiles": cloudfiles}[library].threaded_queue
    name = "Queue" if library == "cloudvolume" else "queue"
    monkeypatch.setattr(module, name, SimpleNamespace(Queue=Slow, Empty=queue.Empty))

    def fail(_: Any) -> None:
        raise OSError("late")

    def run() -> None:
        with module.ThreadedQueue(n_threads=2) as tasks:
            tasks.put(fail)

    with pytest.raises(OSError, match="late"):
        run()


def test_volumes_and_their_errors_survive_pickling(folder: Path, data: np.ndarray) -> None:
    volume = Volume(local(folder), 0, missing=3)
    volume.read(ALL)
    state = pickle.dumps(volume)
    assert len(state) < 500  # what it has opened stays behind
    again = pickle.loads(state)
    assert again == volume
    np.testing.assert_array_equal(again.read(ALL).data, data)
    error = pickle.loads(pickle.dumps(SourceError("gone", "unreachable")))
    assert (str(error), error.kind, error.retryable) == ("gone", "unreachable", True)


def test_importing_the_module_does_not_import_cloud_volume() -> None:
    code = (
        "import sys; from ddgm.pipeline.volumes import ingest, volume; "
        "print('cloudvolume' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
