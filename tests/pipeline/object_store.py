"""An S3-compatible object store on loopback, that can refuse and fail."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from werkzeug import Request
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from distributed import Client

BUCKET = "bucket"
SECRET = "hush0hush"  # of the credentials that the tests use
CODES = {403: "AccessDenied", 500: "InternalError", 501: "NotImplemented"}

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class ObjectStore:
    """A server with one bucket, which is all in memory.

    faults: the status that is answered to requests whose "METHOD /BUCKET/KEY" contains the key.
    """

    address: str
    faults: dict[str, int] = field(default_factory=dict)
    client: Any = None

    def keys(self, prefix: str = "") -> list[str]:
        """Of all objects that begin so."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def upload(self, folder: Path, prefix: str) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def download(self, prefix: str, folder: Path) -> Path:
        for key in self.keys(f"{prefix}/"):
            path = folder / key.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(key))
        return folder


def _with_faults(app: Wsgi, store: ObjectStore) -> Wsgi:
    alone = threading.Lock()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        status = next((s for part, s in store.faults.items() if part in request), None)
        conditional = "HTTP_IF_NONE_MATCH" in environ
        if status is None or (status == 501 and not conditional):
            with alone if conditional else nullcontext():  # moto looks, and then writes
                return app(environ, start)
        code = CODES[status]
        body = f"<Error><Code>{code}</Code><Message>{code} for the test</Message></Error>".encode()
        Request(environ).get_data()  # what is left of it would be taken for the next request
        body = body if environ["REQUEST_METHOD"] != "HEAD" else b""
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        start(f"{status} {code}", headers)
        return [body]

    return answer


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@contextmanager
def object_store(workers: Client) -> Iterator[ObjectStore]:
    """A server of its own, and the environment that leads this process and Dask's workers there."""
    store = ObjectStore("")
    app: Any = _with_faults(DomainDispatcherApplication(create_backend_app), store)  # type: ignore[arg-type]
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    store.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    environment = {
        "AWS_ENDPOINT_URL": store.address,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # s3fs tries five times by itself
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        workers.run(_adopt, environment)
        store.client = boto3.client("s3")
        store.client.create_bucket(Bucket=BUCKET)
        try:
            yield store
        finally:
            workers.run(_adopt, dict.fromkeys(environment))
            server.shutdown()
            thread.join()
            server.server_close()


def _adopt(environment: dict[str, str | None]) -> None:
    """Set these variables, or remove them, in a worker."""
    S3FileSystem.clear_instance_cache()  # which has read the variables of the server before
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
