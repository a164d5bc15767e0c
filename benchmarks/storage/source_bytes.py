"""Bytes and requests that runs read of a precomputed volume, as a local HTTP server counts them.

python -m benchmarks.storage.source_bytes --volume fib25/train_a.npy
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.spec.model import Spec

NOTES = """
Tissue of FIB-25, mirrored to a volume of jpeg chunks of 64³ behind a server on this machine, and
runs of it by local workers. `of the box's`: bytes of all chunks that the server sent, over those
of the chunks that the box touches. The method is one step of gradient descent: what is read does
not depend on it, but for the halo of methods that couple slices. The first look that each run
takes of its volume is counted.
"""
CHUNK = 64
SHAPE = (128, 512, 768)  # z, y, x: thickness, width and tilt axis
CASES: dict[str, dict[str, Any]] = {
    "aligned": {},
    "10 voxels off along the tilt axis": {
        "source": {"box": {"z": [0, 128], "y": [0, 512], "x": [10, 714]}}
    },
    "a halo of 16": {
        "method": {"name": "ddgm", "steps": 1, "gradient_steps": 1, "planes": "alternate"}
    },
    "slabs of 48": {"slab": {"thickness": 48}},
}


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and counts how often each is asked for."""

    asked: Counter[str]

    def __init__(self, *args: Any, asked: Counter[str], **options: Any) -> None:
        self.asked = asked
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        """Count the file and send it."""
        self.asked[self.path] += 1
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def write(folder: Path, tissue: np.ndarray) -> None:
    """Write tissue, mirrored until it fills the volume, as jpeg chunks."""
    from cloudvolume import CloudVolume

    pads = [(0, max(0, n - m)) for n, m in zip(SHAPE, tissue.shape, strict=True)]
    data = np.pad(tissue[tuple(slice(n) for n in SHAPE)], pads, mode="symmetric")
    info = CloudVolume.create_new_info(
        num_channels=1,
        layer_type="image",
        data_type="uint8",
        encoding="jpeg",
        resolution=(16, 16, 16),
        voxel_offset=(0, 0, 0),
        chunk_size=(CHUNK,) * 3,
        volume_size=SHAPE[::-1],
    )
    volume: Any = CloudVolume(
        f"precomputed://file://{folder}", info=info, provenance={}, progress=False
    )
    volume[:, :, :] = data.T[..., None]
    volume.commit_info()


def measured(folder: Path, workers: int, parts: dict[str, Any]) -> dict[str, Any]:
    """One run, and what it asked for."""
    asked: Counter[str] = Counter()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, asked=asked, directory=str(folder))
    )
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as output:
        data: dict[str, Any] = {
            "source": {"url": f"precomputed://http://127.0.0.1:{server.server_port}"},
            "tilts": {"count": 8},
            "method": {"name": "gradient_descent", "gradient_steps": 1},
            "algebraic": {"gradient_steps": 1},
            "output": {"path": f"{output}/run", "layers": ["reconstruction", "truth"]},
            "cluster": {"kind": "local", "workers": workers, "memory": "4GiB"},
        }
        for name, part in parts.items():
            data[name] = part if name == "method" else {**data.get(name, {}), **part}
        result = run(Spec.model_validate(data), lambda _: None)
    server.shutdown()
    sizes = {path: (folder / path[1:]).stat().st_size for path in asked if "_" in path}
    sent = sum(size * asked[path] for path, size in sizes.items())
    return {
        "workers": workers,
        "blocks": result.blocks,
        "chunks": len(sizes),
        "requests": sum(asked[path] for path in sizes),
        "MB": sent / 1e6,
        "of the box's": sent / sum(sizes.values()),
    }


def main() -> None:
    """Measure all cases and numbers of workers, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--volume", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--name", default="source-bytes", help="of the table in docs/results")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), np.load(options.volume))
        for case, parts in CASES.items():
            for workers in options.workers:
                rows.append({"case": case, **measured(Path(folder), workers, parts)})
                print(rows[-1], flush=True)
    report(options.name, "Source bytes", rows, NOTES)


if __name__ == "__main__":
    main()
