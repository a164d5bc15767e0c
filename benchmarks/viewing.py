"""A run in Neuroglancer: the files' ranges that one view asks for, and the seconds to a picture.

python -m benchmarks.viewing
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import neuroglancer as ng
import numpy as np

from benchmarks.common import report
from ddgm.core.networks.prior import load_prior
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.levels.making import Levels
from ddgm.pipeline.store.manifest import describe
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.view import server
from ddgm.pipeline.view.browser import browsing, picture
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo

SHAPE = 512, 1568, 320  # z, y, x
LAYERS: tuple[Layer, ...] = "reconstruction", "truth", "algebraic"
WINDOW = 1280, 960  # pixels
NOTES = """
A volume of 512 x 1568 x 320 voxels in 40 blocks, with three layers of phantom in uint8. Requests
are those of one layer for its shards, in a window of 1280 x 960 with three sections and a
perspective view, until all that is visible is loaded; those for zarr.json are left out. A shard's
index is a request, and each chunk another. Voxels to a pixel are those of level 0. `one level` is
the same volume with metadata that name level 0 alone.

The picture is what `ddgm view RUN --screenshot FILE` writes, of all three layers, from the start of
the process to its end, Chromium's start and end within it. `load` is the system's at that moment:
two cores that others used, too.
"""


def make_run(root: Path) -> Plan:
    """A run that is done, without solving anything."""
    info = VolumeInfo(Box((0, 0, 0), SHAPE), (8.0, 8.0, 8.0), "uint8", (64, 64, 64), 1, 0)
    parts = {"source": {"url": "file:///nowhere"}, "output": {"path": str(root)}}
    plan, store = make_plan(Spec.model_validate(parts), info), RunStore(str(root))
    manifest = describe(plan, load_prior("small"), "code")
    store.prepare(plan, manifest)
    levels = Levels(store, plan, manifest["digest"])
    tissue = np.tile(neuropil((128, 392, 32), seed=3), (1, 4, 1))
    for block in plan.blocks():
        data = np.roll(tissue, 37 * block.index, axis=1)
        written = store.write(plan, block, dict.fromkeys(LAYERS, data))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        metrics = [{"slice": block.first, "residual": 1.0}]
        done = Record(
            block.index,
            manifest["digest"],
            "done",
            checksums=written.checksums,
            sizes=written.sizes,
            metrics=metrics,
            finished=now,
        )
        store.ledger.put(done)
        levels.climb(block.index)
    return plan


@contextmanager
def counted() -> Iterator[list[str]]:
    """The names of the shards that the server is asked for, a range each."""
    asked: list[str] = []
    get = server._File.get

    async def counting(self: Any, name: str) -> None:
        if not name.endswith("zarr.json"):
            asked.append(name)
        await get(self, name)

    server._File.get = counting
    try:
        yield asked
    finally:
        server._File.get = get


def requests(root: Path, scale: float) -> list[str]:
    """What one layer asks for, seen at so many voxels to a pixel."""
    with server.serving({"run": Folder(str(root))}) as base, counted() as asked:
        viewer = ng.Viewer()
        with viewer.txn() as state:
            state.dimensions = ng.CoordinateSpace(names="xyz", units="nm", scales=[8, 8, 8])
            source = f"{base}/run/volume.zarr/reconstruction/|zarr3:"
            state.layers["reconstruction"] = ng.ImageLayer(source=source)
            state.position = [n / 2 for n in SHAPE[::-1]]
            state.cross_section_scale = scale
            state.projection_scale = scale * WINDOW[1] / 2
            state.layout = "4panel"
        with browsing(viewer.get_viewer_url()):
            picture(viewer, WINDOW)
        ng.stop()
    return asked


def without_levels(root: Path) -> None:
    """Leave level 0 alone in the metadata, as before there were others."""
    path = root / "volume.zarr/reconstruction/zarr.json"
    about = json.loads(path.read_text())
    del about["attributes"]["ome"]["multiscales"][0]["datasets"][1:]
    path.write_text(json.dumps(about))


def seconds_to_picture(root: Path, file: Path) -> float:
    command = [sys.executable, "-m", "ddgm.pipeline.cli", "view", str(root)]
    start = time.perf_counter()
    subprocess.run([*command, "--screenshot", str(file)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pictures that are timed")
    a = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "run")
        make_run(root)
        times, loads = [], []
        for _ in range(a.rounds):
            loads.append(os.getloadavg()[0])
            times.append(seconds_to_picture(root, Path(folder, "run.png")))
        what = f"a picture of the run, median of {a.rounds}"
        rows.append(
            {
                "what": what,
                "s": statistics.median(times),
                "least s": min(times),
                "most s": max(times),
                "load": statistics.median(loads),
            }
        )
        for levels in ("all levels", "one level"):
            for scale in (1, 3, 8):
                asked = requests(root, scale)
                what = f"{levels}, {scale} voxels to a pixel"
                used = ", ".join(sorted({name.split("/")[2] for name in asked}))
                rows.append({"what": what, "requests": len(asked), "of levels": used})
            without_levels(root)
    report("viewing", "A run of 512 x 1568 x 320 voxels in Neuroglancer", rows, NOTES)


if __name__ == "__main__":
    main()
