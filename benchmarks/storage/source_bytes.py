"""Bytes and requests that runs read of a precomputed volume, as a local HTTP server counts them.

python -m benchmarks.storage.source_bytes --volume fib25/train_a.npy
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import report
from ddgm.pipeline.block.code import code_digest
from ddgm.pipeline.block.context import running_stage
from ddgm.pipeline.block.stages import fetch_stage
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.run.dask_cluster import DaskCluster
from ddgm.pipeline.run.placement import Placement
from ddgm.pipeline.run.scheduler import BlockScheduler
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.workers.connect import connect
from ddgm.workers.specs import Local

if TYPE_CHECKING:
    from distributed import Client, Future

NOTES = """
Tissue of FIB-25, mirrored to a volume of jpeg chunks of 64³ behind a server on this machine. Local
workers fetch blocks of 32 slices as in a run, and wait a quarter of a second where they would
solve. `of the box's`: bytes of all chunks that the server sent, over those of the chunks that the
box touches. A stretch of blocks that one worker takes over from another costs a column of chunks,
here 8 of 320.
"""
CHUNK = 64
SOLVING = 0.25  # seconds
SHAPE = (128, 256, 2560)  # z, y, x: thickness, width and tilt axis
CASES: dict[str, dict[str, Any]] = {
    "aligned": {},
    "10 voxels off along the tilt axis": {
        "source": {"box": {"z": [0, 128], "y": [0, 256], "x": [10, 2506]}}
    },
    "a halo of 16": {"method": {"name": "ddgm", "planes": "alternate"}},
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


def fetched(context: RunContext, task: BlockTask) -> int:
    """Fetch a block, and return its number."""
    fetch_stage(context, task)
    return task.block


def solved(context: RunContext, task: BlockTask, _: int) -> Record:
    """A block's record after a while."""
    with running_stage(context, task, "reconstruct"):
        time.sleep(SOLVING)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(task.block, context.digest, "done", finished=now)


def submit(
    client: Client, context: RunContext, task: BlockTask, pinned_worker: str, placement: Placement
) -> Future:
    """Hand a block's two tasks to Dask, one after the other, as a run does."""
    where: dict[str, Any] = {"workers": [pinned_worker], "pure": False}
    cutout = client.submit(fetched, context, task, key=f"fetch-{task.name}", **where)
    return client.submit(solved, context, task, cutout, key=f"solve-{task.name}", **where)


def measured(folder: Path, workers: int, parts: dict[str, Any]) -> dict[str, Any]:
    """All blocks of a case, and what was asked for."""
    asked: Counter[str] = Counter()
    handler = partial(Handler, asked=asked, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster = Local(workers=workers, memory="4GiB")
    with tempfile.TemporaryDirectory() as root, connect(cluster) as client:
        url = f"precomputed://http://127.0.0.1:{server.server_port}"
        data: dict[str, Any] = {"output": {"path": root}, **parts}
        data["source"] = {"url": url, **parts.get("source", {})}
        plan = make_plan(Spec.model_validate(data))
        context = RunContext.of(plan, root, "digest", code_digest(), f"ddgm-{uuid.uuid4().hex}")
        driver = DaskCluster(client, context, submit)
        scheduler = BlockScheduler(driver, context, RunStore(root), lambda _: None)
        scheduler.drain(iter(range(plan.block_count)))
    server.shutdown()
    sizes = {path: (folder / path[1:]).stat().st_size for path in asked if "_" in path}
    sent = sum(size * asked[path] for path, size in sizes.items())
    return {
        "workers": workers,
        "blocks": plan.block_count,
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
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--name", default="source-bytes", help="of the table in docs/results")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), np.load(options.volume))
        for case in options.cases:
            for workers in options.workers:
                rows.append({"case": case, **measured(Path(folder), workers, CASES[case])})
                print(rows[-1], flush=True)
    report(options.name, "Source bytes", rows, NOTES)


if __name__ == "__main__":
    main()
