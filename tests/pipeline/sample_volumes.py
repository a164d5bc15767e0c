"""Small real volumes for the tests, and an HTTP server that serves them and can misbehave."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

Triple = tuple[int, int, int]
Fault = int | str | Callable[[SimpleHTTPRequestHandler], None]


def grey(shape: Triple, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Noise from 1 to 255, (z, y, x): none is 0, so a 0 that is read is a voxel that was not."""
    return np.random.default_rng(seed).integers(1, 256, shape).astype(dtype)


def write_volume(
    folder: Path,
    data: np.ndarray,
    *,
    encoding: str = "raw",
    chunk: Triple = (16, 16, 16),
    offset: Triple = (0, 0, 0),
    voxel_size_nm: Triple = (8, 8, 8),
    coarser: np.ndarray | None = None,
    extra: dict[str, Any] | None = None,
) -> str:
    """Writes `data` (z, y, x) or (z, y, x, channels) as mip 0 and returns the volume's URL.

    coarser: (z, y, x), written as mip 1, at half the resolution and half the offset of mip 0.
    extra: more entries for the info file.
    """
    from cloudvolume import CloudVolume

    data = data if data.ndim == 4 else data[..., None]
    info: dict[str, Any] = CloudVolume.create_new_info(
        num_channels=data.shape[3],
        layer_type="image",
        data_type=data.dtype.name,
        encoding=encoding,
        resolution=voxel_size_nm[::-1],
        voxel_offset=offset[::-1],
        chunk_size=chunk[::-1],
        volume_size=data.shape[2::-1],
        max_mip=0 if coarser is None else 1,
        factor=(2, 2, 2),
    )
    info.update(extra or {})
    url = f"precomputed://file://{folder}"
    volume: Any = CloudVolume(url, info=info, provenance={}, compress=False)
    volume[:, :, :] = data.transpose(2, 1, 0, 3)
    if coarser is not None:
        volume.mip = 1
        volume[:, :, :] = coarser.T
    volume.commit_info()
    return url


def chunk_file(folder: Path, corner: Triple) -> Path:
    """The file of the mip 0 chunk whose first voxel is `corner` (z, y, x)."""
    z, y, x = corner
    (path,) = folder.glob(f"*_*_*/{x}-*_{y}-*_{z}-*")
    return path


@dataclass
class Server:
    """A static file server on loopback.

    faults: the status (or "hang", or "cut": half of the body, or a function that answers) for the
        paths that contain the key.
    """

    address: str = ""
    faults: dict[str, int | str | Callable[[SimpleHTTPRequestHandler], None]] = field(
        default_factory=dict
    )
    requests: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"precomputed://{self.address}"


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, state: Server, **options: Any) -> None:
        self.state = state
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self.state.requests.append(self.path)
        fault = next((f for key, f in self.state.faults.items() if key in self.path), None)
        if isinstance(fault, int):
            self.send_error(fault)
        elif callable(fault):
            with suppress(ConnectionError):
                fault(self)
        elif fault == "cut":
            self._send_half()
        else:
            if fault == "hang":
                self.state.released.wait(20)  # answers in the end: no timeout, no error
            with suppress(ConnectionError):  # the client has given up
                super().do_GET()

    def _send_half(self) -> None:
        body = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # with the default of 5 a burst of connections waits for a second


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serves `folder` while the context lasts."""
    state = Server()
    server = _Server(("127.0.0.1", 0), partial(_Handler, state=state, directory=str(folder)))
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
