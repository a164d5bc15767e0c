"""cloud-volume, made safe to use here: bounds on bytes and time, no lost errors, no chatter.

It takes seconds to import, so it is imported inside functions. What is replaced here is not the
library's public API: where a later version moves it, tests/pipeline/volumes/
test_cloudvolume_fixes.py fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from socket import SHUT_RDWR
from threading import Event, Timer
from typing import Any

from ddgm.pipeline.volumes.limits.images import check_pixels
from ddgm.pipeline.volumes.limits.traffic import METER, metered
from ddgm.pipeline.volumes.limits.unpack import UNPACK, TooLargeError, unpack

INFO_BYTES = 2**24  # an answer may have these beside the voxels that were asked for


@dataclass
class Limits:
    """Limits on one file of a source."""

    bytes: int = INFO_BYTES  # as it comes, and unpacked
    seconds: float = 120.0  # from the request to the last byte, in one attempt


LIMITS = Limits()


class PageError(Exception):
    """A server that answers a request for a file with a page for people."""


class RangesIgnoredError(Exception):
    """A server that answers a request for a part of a file with all of it."""


@cache
def cloud_volume() -> Any:
    """The CloudVolume class, once the library has been made safe to use in this process."""
    import cloudfiles.compression
    import cloudfiles.secrets
    import cloudfiles.threaded_queue
    import cloudvolume.chunks
    import cloudvolume.compression
    import cloudvolume.datasource.precomputed
    import cloudvolume.datasource.precomputed.image.rx
    import cloudvolume.threaded_queue

    bound_http()
    meter_requests()
    unpacked = partial(_decompress, cloudfiles.compression.decompress)
    for library in (cloudfiles, cloudvolume):
        vars(library.compression)["decompress"] = unpacked
    chunks: Any = cloudvolume.chunks
    chunks.decode = partial(_decode, chunks.decode)
    # It prints what it also raises, and hints; redirecting stdout would not be safe in threads.
    precomputed = cloudvolume.datasource.precomputed
    for module in (precomputed, precomputed.image.rx, cloudfiles.secrets, cloudfiles.compression):
        vars(module)["print"] = lambda *args, **kwargs: None
    for library in (cloudvolume, cloudfiles):
        queue: Any = library.threaded_queue.ThreadedQueue
        queue._consume_queue_execution = _run_task
    return cloudvolume.CloudVolume


def _run_task(queue: Any, task: Any) -> None:
    """Delivers a task's error before it counts as done.

    The library does so after: its reader may be gone by then, with zeros for an answer (measured).
    """
    try:
        task()
    except Exception as error:
        queue._error_queue.put(error)
    finally:
        with queue._processed_lock:
            queue.processed += 1
            queue._queue.task_done()


def bound_http(
    connect: float = 5.0,
    read: float = 30.0,
    attempts: int = 4,
    backoff: float = 0.5,
    total: float = 120.0,
) -> None:
    """Gives cloud-volume's requests an end: its own have no timeout, and 7 attempts (measured).

    connect, read: seconds to wait for a connection and between two bytes.
    attempts, backoff: tries of one request, with random waits of backoff · 2ⁿ s, 4 s at most.
    total: seconds for one try, from the request to the last byte.
    """
    import tenacity
    from cloudfiles import connectionpools, interfaces

    LIMITS.seconds = total
    http = interfaces.HttpInterface
    http.adaptor = _adapter(connect, read)
    google, s3 = interfaces.GoogleCloudStorageInterface, interfaces.S3Interface
    pools = connectionpools.GCloudBucketPool, connectionpools.S3ConnectionPool
    for method in (m for owner in (http, google, s3, *pools) for m in vars(owner).values()):
        if retry := getattr(method, "retry", None):
            retry.before_sleep = lambda _: METER.count(requests=1)
            retry.stop = tenacity.stop_after_attempt(attempts)
            retry.wait = tenacity.wait_random_exponential(multiplier=backoff, max=4.0)


def meter_requests() -> None:
    """Has each file that cloud-files gets counted, and held to the bandwidth that is set."""
    from cloudfiles import interfaces

    for owner in vars(interfaces).values():
        if isinstance(owner, type) and "get_file" in vars(owner):
            owner.get_file = metered(vars(owner)["get_file"])  # type: ignore[attr-defined]


def _adapter(connect: float, read: float) -> Any:
    """A session that sends requests, with `LIMITS` on their answers."""
    from requests import PreparedRequest, Response
    from requests.adapters import HTTPAdapter

    class BoundedAdapter(HTTPAdapter):
        refused: str | None = None  # the last URL that was answered with 403

        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            manager: Any = self.poolmanager
            manager.pool_classes_by_scheme = {
                scheme: type(pool.__name__, (pool,), {"ConnectionCls": _timed(pool.ConnectionCls)})
                for scheme, pool in manager.pool_classes_by_scheme.items()
            }

        def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
            deadline = time.monotonic() + LIMITS.seconds
            response = super().send(request, *args, **{**options, "timeout": (connect, read)})
            if response.status_code == 403:
                self.refused = request.url
            _check_range(str(request.headers.get("Range", "")), response)
            response.raw.read = partial(_read, response.raw, response.raw.read, deadline)
            return response

    return BoundedAdapter(pool_maxsize=32)  # the library reads with 20 threads


def _timed(connection: Any) -> Any:
    """A class of connections on which an answer's headers, too, must come in time."""

    class Timed(connection):
        def getresponse(self, *args: Any, **options: Any) -> Any:
            with _cut_off(self.sock):
                return super().getresponse(*args, **options)

    return Timed


@contextmanager
def _cut_off(sock: Any) -> Iterator[None]:
    """Shut a socket down where what is done with it takes too long, and raise ConnectionError."""
    late = Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):  # it has been closed
            sock.shutdown(SHUT_RDWR)

    timer = Timer(LIMITS.seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():  # headers that end here would pass for whole ones
        raise ConnectionError(f"no answer began in {LIMITS.seconds:g} s")


def _check_range(wanted: str, response: Any) -> None:
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    if response.status_code != 200 or not last:
        return
    length = response.headers.get("Content-Length")
    if length != str(int(last) - int(first) + 1):  # else the part is all of the file
        raise RangesIgnoredError(
            f"the server answers a request for a part of {response.url} with the whole file; a "
            "sharded volume needs one that knows Range requests"
        )


def _read(
    raw: Any,
    plain: Callable[..., bytes],
    deadline: float,
    amount: int | None = None,
    **options: Any,
) -> bytes:
    """All that is left of an answer, undecoded, within `LIMITS`; a given amount as ever."""
    if amount is not None:
        return plain(amount, **options)
    pieces, total = [], 0
    while piece := raw.read1(2**20, decode_content=False):
        pieces.append(piece)
        total += len(piece)
        if total > LIMITS.bytes:
            raise TooLargeError(f"more than {LIMITS.bytes / 1e6:.1f} MB came")
        if time.monotonic() > deadline:
            raise TimeoutError(f"it was not all there after {LIMITS.seconds:g} s")
    data = b"".join(pieces)
    if data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        where = "as where one must log in, or nothing is at that address"
        raise PageError(f"the server answers with a web page, {where}")
    return data


def _decompress(
    plain: Callable[..., bytes], content: bytes, encoding: str | None, filename: str = "N/A"
) -> bytes:
    """Unpacks a file's content, no more than `LIMITS` of it; an empty file is damage."""
    if content is not None and not len(content):  # the library takes it for one that is missing
        raise ValueError(f"{'a chunk' if filename == 'N/A' else filename} is an empty file")
    encoding = (encoding or "").lower()
    if encoding not in UNPACK or not content:
        return plain(content, encoding, filename)
    return unpack(encoding, content, LIMITS.bytes, filename)


def _decode(
    plain: Callable[..., Any],
    content: Any,
    encoding: str,
    shape: Any = None,
    *rest: Any,
    **more: Any,
) -> Any:
    """Decodes a chunk, once its header says no more voxels than it has; "numpy" are decoded."""
    if encoding != "numpy" and content and shape is not None:
        check_pixels(content, encoding, prod(int(n) for n in shape))
    return plain(content, encoding, shape, *rest, **more)
