"""Memory of a worker with long blocks whose slices are coupled, beside what `ddgm plan` says.

python -m benchmarks.block_memory [--slices 192 --halo 16]

A run of three blocks by one worker of a local cluster: the middle one has its halo on both sides,
and is fetched while the first is solved. The network is small and not trained: what it holds is
planned as any other's, and nobody looks at its time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import report
from ddgm.core.networks.prior import PriorCard, save_prior
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.ingest import ingest

SPEC = """\
source: {{url: "precomputed://file://{folder}/volume"}}
output: {{path: {folder}/run}}
slab: {{thickness_axis: z, width_axis: y, tilt_axis: x}}
prior: {{weights: {folder}/prior.safetensors}}
method: {{name: ddx, steps: 2, rho: 15, planes: alternate}}
block: {{slices: {slices}, batch: 8, halo: {halo}}}
cluster: {{kind: local, workers: 1, threads: 1, memory: 24GiB}}
"""
NOTES = """
GB. `peak` is the most that the worker's process had ever held when it had written a block, in a run
of three blocks by DDX with planes in turn and N = 2; the other columns are what `ddgm plan` says.
Slices that are coupled are solved as one stack with their halo, here of 224.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=192)
    parser.add_argument("--halo", type=int, default=16)
    parser.add_argument("--width", type=int, default=1568)
    parser.add_argument("--name", default="memory-blocks", help="of the result")
    a = parser.parse_args()
    rows = [measured(a.slices, a.halo, a.width)]
    title = f"Memory: blocks of {a.slices} slices of 128 x {a.width}, halo {a.halo}"
    report(a.name, title, rows, NOTES)


def measured(slices: int, halo: int, width: int) -> dict[str, Any]:
    """What is planned for a worker, and what it held."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = 128, width, 2 * slices + halo
        np.save(folder / "em.npy", np.random.default_rng(0).integers(60, 180, shape, np.uint8))
        ingest(folder / "em.npy", f"file://{folder}/volume", (16.0, 16.0, 16.0))
        torch.manual_seed(0)
        card = PriorCard(Architecture(width=8, levels=2, convolutions=1), 120.0, 35.0, 16.0)
        save_prior(folder / "prior.safetensors", UNet(card.architecture), card)
        spec = folder / "spec.yaml"
        spec.write_text(SPEC.format(folder=folder, slices=slices, halo=halo))
        subprocess.run([sys.executable, "-m", "ddgm.pipeline.cli", "run", str(spec)], check=True)
        planned = worker_memory(make_plan(load_spec(spec)))
        peak = max(record.peak for record in RunStore(str(folder / "run")).ledger.records())
    parts = "process", "network", "projector", "block", "batch"
    return {
        **{part: getattr(planned, part) / 1e9 for part in parts},
        "planned": planned.total / 1e9,
        "peak": peak / 1e9,
        "peak over planned": peak / planned.total,
    }


if __name__ == "__main__":
    main()
