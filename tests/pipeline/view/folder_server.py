"""A folder over HTTP, as viewers need it: ranges, CORS, on loopback, behind a token."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, StaticFileHandler

LOOPBACK = "127.0.0.1"


class _File(StaticFileHandler):
    def set_default_headers(self) -> None:
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Access-Control-Allow-Headers", "Range")
        self.set_header("Access-Control-Expose-Headers", "Content-Range, Content-Length")
        self.set_header("Cache-Control", "no-cache")  # a block may have been written since

    def compute_etag(self) -> None:
        """None: Tornado's would read each file whole."""

    def options(self, *_: str) -> None:
        self.set_status(204)


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve what lies below `folder` while the context lasts; gives its URL, without a slash."""
    (listening,) = bind_sockets(0, LOOPBACK)
    token, ready = secrets.token_urlsafe(24), threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def answer() -> None:
        app = Application(
            [(rf"/{token}/(.*)", _File, {"path": str(folder)})], log_function=lambda _: None
        )
        server = HTTPServer(app)
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
