"""A run through the whole pipeline against its solver alone: what reading and writing cost.

python -m benchmarks.end_to_end [ddgm-50 ddx-10] [--weights full --precision float8 --batch 64]
python -m benchmarks.end_to_end restore:passes=3 --restorer unrolled-lateral --slices 16
python -m benchmarks.end_to_end ddx:steps=2:planes=alternate --slices 64 --blocks 4
python -m benchmarks.end_to_end --gpu   (in float8 on one GPU with 16 cores)

Methods are named as `ddgm benchmark` names them. Where one couples slices, the bare solver takes a
block's own slices with the halo on both sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks.common import on_this_device, report
from ddgm.core.process_memory import keep_freed_memory
from ddgm.core.simulation.noise import numbered_origins
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.block.solver import Solver, cached_solver
from ddgm.pipeline.evaluation.methods import in_spec, parse_method
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.volumes.ingest import ingest

NOTES = """
`bare solver` is the solver in one process, on tilt series that lie in memory, before and after the
run: the mean of both. The run reads a precomputed volume with cloud-volume, simulates,
reconstructs, scores and writes zarr, on a local cluster, without a GPU of one worker with two
threads. Its rate is that between the first block's end and the last's; what a run does once lies
before (`start`). Loading is that of a worker's first block and of its second; the peak is that of
a process after a tenth of the blocks, a third, and all. Coarser levels are made by the workers
after their blocks. What a stage took is by the records, of the blocks after a worker's first.
"""

SPEC = """\
source: {{url: "precomputed://file://{folder}/volume"}}
output: {{path: {folder}/run}}
slab: {{thickness_axis: z, width_axis: y, tilt_axis: x}}
prior: {{weights: {weights}, restorer: {restorer}, precision: {precision}, {tiles}}}
method: {method}
block: {{slices: {slices}, batch: {at_once}}}
cluster: {{kind: local, workers: {workers}, threads: 2, memory: 12GiB}}
"""

# of 16 cores two are for the GPU's own process; enough blocks that all are busy
GPU = {"weights": "full", "precision": "float8", "batch": 64, "slices": 32, "workers": 14}
ON_GPU = {"ddgm-50": 24, "ddx-5": 96, "restore": 192}  # blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=["ddgm-50"])
    parser.add_argument("--weights", default="small")
    parser.add_argument("--restorer", default="restore-lateral", help="for methods that call one")
    parser.add_argument("--tiling", choices=("tiles", "rows"), default="tiles")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--batch", type=int, default=8, help="patches to a network call")
    parser.add_argument("--slices", type=int, default=4, help="of a block")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--width", type=int, default=1568)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpu", action="store_true", help="three methods, a GPU with 16 cores")
    parser.add_argument("--name", default="end-to-end", help="of the result")
    a = parser.parse_args()
    keep_freed_memory()
    blocks = ON_GPU if a.gpu else dict.fromkeys(a.methods, int(a.blocks))
    a = Namespace(**{**vars(a), **(GPU if a.gpu else {})})
    rows = [row for text, n in blocks.items() for row in rows_of(a, text, n)]
    title = f"End to end: blocks of {a.slices} slices of 128 x {a.width}, {a.precision}, {a.tiling}"
    report(on_this_device(a.name), title, rows, NOTES)


def rows_of(a: Namespace, text: str, blocks: int) -> list[dict[str, Any]]:
    """The bare solver, and the run of the same spec."""
    method = parse_method(text)
    at_once = 8 if method.couples_slices else min(a.slices, 16)
    learned = a.restorer if "restorer" in method.networks else "null"
    numbers = {**vars(a), "method": in_spec(method), "at_once": at_once, "restorer": learned}
    numbers["tiles"] = f"batch: {a.batch}, tiling: {a.tiling}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        array = folder / "phantom.npy"
        np.save(array, neuropil((128, a.width, a.slices * blocks), seed=5))
        ingest(array, f"file://{folder}/volume", (16.0, 16.0, 16.0))
        path = folder / "spec.yaml"
        path.write_text(SPEC.format(folder=folder, **numbers))
        solver = solver_of(path)
        before = bare(solver, a.slices)
        ran = run(path, folder / "run", a.slices)
        alone = (before + bare(solver, a.slices)) / 2
    slice_pixels = 128 * a.width / 1e6
    title = f"{method.title}, {method.settings}"
    return [
        {"what": f"bare solver, {title}", "slices/s": alone, "Mpixel/s": alone * slice_pixels},
        {
            "what": f"the pipeline, {blocks} blocks, {title}",
            "slices/s": ran.rate,
            "Mpixel/s": ran.rate * slice_pixels,
            "of bare": ran.rate / alone,
            "start, s": ran.start,
            "whole run, s": ran.whole,
            "loading, s": ", ".join(f"{s:.3g}" for s in ran.loads),
            "peak, MB": ", ".join(f"{p / 1e6:.0f}" for p in ran.peaks),
            **{f"{stage}, ms a slice": 1e3 * s / a.slices for stage, s in ran.stages.items()},
            "levels, ms a slice": 1e3 * ran.levels / (blocks * a.slices),
        },
    ]


def solver_of(path: Path) -> Solver:
    """The run's own solver, in this process."""
    spec = load_spec(path)
    torch.set_num_threads(spec.cluster.threads)
    plan = make_plan(spec)
    return cached_solver(plan)


def bare(solver: Solver, slices: int) -> float:
    """Slices a second, after one batch to warm up."""
    g, spec = solver.projector.geometry, solver.spec
    stack = slices + 2 * spec.halo
    origins = numbered_origins(stack)
    y = torch.randn(stack, g.views, g.bins, generator=torch.Generator().manual_seed(0))
    solver.reconstruct(y, origins)
    start = time.perf_counter()
    for _ in range(2):
        solver.reconstruct(y, origins)
    return 2 * slices / (time.perf_counter() - start)


@dataclass(frozen=True)
class Ran:
    """A run, by its ledger: seconds, slices a second, and bytes that a process held at most.

    `loads` are those of the first block and of the second of the same worker; `peaks` are after a
    tenth of the blocks, a third, and all; `levels` are spent on coarser levels by all workers;
    `stages` are means of the blocks after a worker's first.
    """

    start: float
    rate: float
    whole: float
    loads: tuple[float, float]
    peaks: list[int]
    levels: float
    stages: dict[str, float]


def run(spec: Path, out: Path, slices: int) -> Ran:
    """Run it, in processes of its own."""
    began, start = time.time(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "ddgm.pipeline.cli", "run", str(spec)], check=True)
    whole = time.perf_counter() - start
    files = sorted((out / "ledger").glob("*/*.json"), key=lambda p: p.stat().st_mtime)
    ends = [p.stat().st_mtime for p in files]
    records = [Record.from_json(p.read_bytes()) for p in files]
    first = records[0]
    second = next((r for r in records[1:] if r.worker == first.worker), first)
    known = {r.worker: r for r in reversed(records)}  # each worker's first
    later = [r for r in records if r is not known[r.worker]] or records
    return Ran(
        ends[0] - began,
        slices * (len(ends) - 1) / (ends[-1] - ends[0]),
        whole,
        (first.seconds["load"], second.seconds["load"]),
        [max(r.peak for r in records[: -(-len(records) // n)]) for n in (10, 3, 1)],
        seconds_on_levels(out),
        {stage: fmean(r.seconds.get(stage, 0.0) for r in later) for stage in first.seconds},
    )


def seconds_on_levels(out: Path) -> float:
    """All workers' together, by their logs."""
    lines = (line for log in (out / "logs").iterdir() for line in log.read_text().splitlines())
    return sum(json.loads(line).get("seconds", {}).get("levels", 0.0) for line in lines)


if __name__ == "__main__":
    main()
