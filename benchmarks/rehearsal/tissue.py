"""A synthetic Hemibrain behind HTTP: any chunk of the paper's volume, after a latency.

Every chunk is one of a few bricks of phantom, as JPEG: the box of 10 gigavoxels needs no disk.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from typing import Any
from zlib import crc32

import numpy as np
from cloudvolume.chunks import encode_jpeg

from ddgm.core.simulation.phantom import neuropil

SIDE, BRICKS = 64, 8
LATENCY = 0.02, 0.08  # seconds
BANDWIDTH = 125e6  # bytes a second, of all connections: a gigabit
SIZE = 34432, 39552, 41408  # of the Hemibrain at 8 nm, x, y, z


def info() -> bytes:
    """The volume's info, with mips 0 and 1."""
    scales = [
        {
            "key": str(mip),
            "size": [n >> mip for n in SIZE],
            "resolution": [8 << mip] * 3,
            "voxel_offset": [0, 0, 0],
            "chunk_sizes": [[SIDE] * 3],
            "encoding": "jpeg",
        }
        for mip in range(2)
    ]
    about = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": scales}
    return json.dumps(about).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers with the info, or a brick for any other name."""

    protocol_version = "HTTP/1.1"
    chunks: tuple[bytes, ...] = ()
    line = threading.Lock()  # the connection to the world, which takes a byte at a time

    def do_GET(self) -> None:
        """Answer after a latency, at the bandwidth."""
        time.sleep(random.uniform(*LATENCY))
        data = info() if self.path.endswith("/info") else self._chunk()
        with self.line:
            time.sleep(len(data) / BANDWIDTH)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _chunk(self) -> bytes:
        return self.chunks[crc32(self.path.encode()) % len(self.chunks)]


def serve(port: Any) -> None:
    """Serve until the process is ended."""
    tissue = neuropil((SIDE, SIDE, SIDE * BRICKS), seed=7)
    bricks = np.split(tissue, BRICKS, axis=2)
    Handler.chunks = tuple(encode_jpeg(np.asfortranarray(brick.T[..., None])) for brick in bricks)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def hemibrain() -> Iterator[str]:
    """A server in a process of its own; the volume's URL."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"precomputed://http://127.0.0.1:{ours.recv()}/em"
    finally:
        process.terminate()
        process.join()
