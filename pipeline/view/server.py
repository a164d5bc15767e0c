"""Folders over HTTP, as viewers need them: ranges, CORS, on loopback, behind a token."""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from ddgm.core.errors import DdgmError
from ddgm.pipeline.store.files import Folder

LOOPBACK = "127.0.0.1"


@contextmanager
def serving(folders: Mapping[str, Folder]) -> Iterator[str]:
    """Serve folders, on a disk or in a store, while the context lasts.

    Yields:
        The URL that each folder's name follows, after a slash.
    """
    (listening,) = bind_sockets(0, LOOPBACK)
    token, ready = secrets.token_urlsafe(24), threading.Event()
    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    routes = [
        (rf"/{token}/{name}/(.+)", _File, {"folder": folder}) for name, folder in folders.items()
    ]

    async def answer() -> None:
        server = HTTPServer(Application(routes, log_function=lambda _: None))
        server.add_socket(listening)
        ready.set()
        await ended.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: loop.run_until_complete(answer()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/{token}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


class _File(RequestHandler):
    def initialize(self, folder: Folder) -> None:
        self.folder = folder

    def set_default_headers(self) -> None:
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Access-Control-Allow-Headers", "Range")
        self.set_header("Access-Control-Expose-Headers", "Content-Range, Content-Length")
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Cache-Control", "no-store")  # a block may have been written since

    def compute_etag(self) -> None:
        """None: it would cost a hash of all that is sent."""

    def options(self, *_: str) -> None:
        self.set_status(204)

    async def head(self, name: str) -> None:
        self.set_header("Content-Length", str(await self._in_thread(_size, self.folder, name)))

    async def get(self, name: str) -> None:
        size = await self._in_thread(_size, self.folder, name)
        start, stop = 0, size
        if wanted := self.request.headers.get("Range"):
            start, stop = _span(wanted, size)
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.write(await self._in_thread(self.folder.read_part, name, start, stop))

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        except DdgmError as error:
            raise HTTPError(502, reason="the store does not answer") from error
        except OSError as error:
            raise HTTPError(404) from error


def _size(folder: Folder, name: str) -> int:
    if ".." in name.split("/") or not (size := folder.size(name)):
        raise HTTPError(404)
    return size


def _span(wanted: str, size: int) -> tuple[int, int]:
    """First byte, and the one after the last, of a Range header."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted.strip())
    if found is None or found.groups() == ("", ""):
        raise HTTPError(416)
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= stop:
        raise HTTPError(416)
    return start, stop
