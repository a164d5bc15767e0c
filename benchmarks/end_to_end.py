"""A run through the whole pipeline against its solver alone: what reading and writing cost.

python -m benchmarks.end_to_end [--weights full --precision float8 --batch 64 --workers 4]

"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import on_this_device, report
from ddgm_core.memory import keep_freed_memory
from ddgm_core.noise import Place
from ddgm_core.phantom import neuropil
from pipeline.ingest import ingest
from pipeline.plan import checked_plan
from pipeline.solver import Solver, resident_prior, resident_solver
from pipeline.source import Volume
from pipeline.spec_file import load_spec

NOTES = """
`bare solver` is the solver in one process, on tilt series that lie in memory, before and after the
run: the mean of both. The run reads a precomputed volume with cloud-volume, simulates,
reconstructs, scores and writes zarr, on a local cluster, without a GPU of one worker with two
threads. Its rate is that between the first block's end and the last's; what a run does once lies
before (`start`).
"""

SPEC = """\
source: {{url: "precomputed://file://{folder}/volume"}}
output: {{path: {folder}/run}}
slab: {{thickness_axis: z, width_axis: y, tilt_axis: x}}
prior: {{weights: {weights}, precision: {precision}, batch: {batch}}}
method: {{name: ddgm, steps: {steps}, gradient_steps: 25}}
block: {{slices: {slices}, batch: {slices}}}
cluster: {{kind: local, workers: {workers}, threads: 2, memory: 12GiB}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--batch", type=int, default=8, help="patches to a network call")
    parser.add_argument("--slices", type=int, default=4, help="of a block")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--steps", type=int, default=50, help="N")
    parser.add_argument("--width", type=int, default=1568)
    parser.add_argument("--workers", type=int, default=1)
    a = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        array = folder / "phantom.npy"
        np.save(array, neuropil((128, a.width, a.slices * a.blocks), seed=5))
        ingest(array, f"file://{folder}/volume", (16.0, 16.0, 16.0))
        path = folder / "spec.yaml"
        path.write_text(SPEC.format(folder=folder, **vars(a)))
        solver = solver_of(path)
        before = bare(solver, a.slices)
        start, rate, whole = run(path, folder / "run", a.slices)
        alone = (before + bare(solver, a.slices)) / 2
    slice_pixels = 128 * a.width / 1e6
    rows: list[dict[str, Any]] = [
        {"what": "bare solver", "slices/s": alone, "Mpixel/s": alone * slice_pixels},
        {
            "what": "the pipeline",
            "slices/s": rate,
            "Mpixel/s": rate * slice_pixels,
            "of bare": rate / alone,
            "start, s": start,
            "whole run, s": whole,
        },
    ]
    title = (
        f"End to end: {a.blocks} blocks of {a.slices} slices of 128 x {a.width}, N = {a.steps}, "
        f"`{a.weights}` in {a.precision}"
    )
    report(on_this_device("end-to-end"), title, rows, NOTES)


def solver_of(path: Path) -> Solver:
    """The run's own solver, in this process."""
    spec = load_spec(path)
    torch.set_num_threads(spec.cluster.threads)
    plan = checked_plan(spec, Volume(spec.source.url, 0, None).info)
    return resident_solver(plan, resident_prior(spec.prior).digest)


def bare(solver: Solver, slices: int) -> float:
    """Slices a second, after one batch to warm up."""
    g = solver.projector.geometry
    places: list[Place] = [(0, 0, i) for i in range(slices)]
    y = torch.randn(slices, g.views, g.bins, generator=torch.Generator().manual_seed(0))
    solver.reconstruct(y, places)
    start = time.perf_counter()
    for _ in range(2):
        solver.reconstruct(y, places)
    return 2 * slices / (time.perf_counter() - start)


def run(spec: Path, out: Path, slices: int) -> tuple[float, float, float]:
    """Seconds to the first block's end, slices a second from there on, seconds in all."""
    began, start = time.time(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline.cli", "run", str(spec)], check=True)
    whole = time.perf_counter() - start
    ends = sorted(p.stat().st_mtime for p in (out / "ledger").glob("*/*.json"))
    return ends[0] - began, slices * (len(ends) - 1) / (ends[-1] - ends[0]), whole


if __name__ == "__main__":
    main()
