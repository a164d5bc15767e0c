"""Wide slices: time and memory of a slice at several widths, beside what `ddgm plan` says.

python -m benchmarks.scale

Each reading is that of a fresh process, which does one block of the pipeline as a worker does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from dask.utils import parse_bytes

from benchmarks.common import RESULTS, report
from ddgm.core.process_memory import peak_bytes
from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.spec.memory import check_fits, worker_memory
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, PlanError, make_plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from ddgm.workers.settings import settings

WIDTHS = 512, 1568, 4096, 10_000
BLOCKS = 8, 24  # slices
LEVELS, WHOLE = 2, 50  # noise levels that are timed, and that a slice has by default
LIMIT = "8GiB"  # a worker's, by default


def spec_of(slices: int, url: str = "none", path: str = "none") -> Spec:
    """All by default but the levels; the larger block is run for its memory alone."""
    levels = LEVELS if slices == BLOCKS[0] else 1
    parts: dict[str, Any] = {"method": {"name": "ddgm", "steps": levels}}
    parts |= {"source": {"url": url}, "output": {"path": path}, "block": {"slices": slices}}
    return Spec.model_validate(parts)


def plan_of(width: int, slices: int) -> Plan:
    shape = 128, width, slices
    info = VolumeInfo(Box((0, 0, 0), shape), (16.0, 16.0, 16.0), "uint8", (64, 64, 64), 1, 0)
    return make_plan(spec_of(slices), info)


def build(width: int) -> dict[str, float]:
    """The projector's decomposition, once for each geometry."""
    from ddgm.core.projectors import projector
    from ddgm.core.projectors.cache import cache_folder

    start = time.perf_counter()
    projector(plan_of(width, 8).geometry)
    kept = sum(path.stat().st_size for path in cache_folder().glob("*.npz"))
    return {"build": time.perf_counter() - start, "build_peak": peak_bytes(), "kept": kept}


def block(width: int, slices: int) -> dict[str, Any]:
    """One block from a precomputed volume of noise to the output, and then the plan's timings."""
    from ddgm.pipeline.block.stages import run_block
    from ddgm.pipeline.run.preflight import prepare

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voxels = np.random.default_rng(0).integers(60, 180, (128, width, slices), np.uint8)
        np.save(folder / "em.npy", voxels)
        words = ["ingest", f"{folder}/em.npy", f"file://{folder}/em", "--voxel-size", *("16",) * 3]
        subprocess.run(
            [sys.executable, "-m", "ddgm.pipeline.cli", *words],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        before = peak_bytes()
        spec = spec_of(slices, f"precomputed://file://{folder}/em", str(folder / "run"))
        start = time.perf_counter()
        job = prepare(spec)
        prepared = time.perf_counter() - start
        record = run_block(job, 0)
    cost = time_calls(job.plan)
    return {
        "before": before,
        "prepared": prepared,
        "peak": record.peak,
        "seconds": {k: v / slices for k, v in record.seconds.items()},
        "data_step": cost.data_step / spec.block.batch,
        "level": cost.slice / spec.method.steps,  # type: ignore[union-attr]
        "planned": worker_memory(job.plan).total,
    }


def alone(cache: str, *words: object) -> dict[str, Any]:
    """Measurements of a fresh process with a worker's settings of malloc."""
    prefix = "distributed.nanny.pre-spawn-environ."
    malloc = {k.removeprefix(prefix): str(v) for k, v in settings().items() if k.startswith(prefix)}
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", *map(str, words)],
        env={**os.environ, **malloc, "DDGM_CACHE": cache, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    print(*words, found, flush=True)
    return found


def measured(width: int) -> dict[str, Any]:
    """All that is told of a width, by what it is called."""
    with tempfile.TemporaryDirectory() as cache:
        built = alone(cache, "--build", width)
        few, many = (alone(cache, "--block", width, slices) for slices in BLOCKS)
    spent = few["seconds"]
    levels, pixels = WHOLE / LEVELS, 128 * width
    whole = spent["simulate"] + spent["algebraic"] + spent["score"] + levels * spent["reconstruct"]
    a_slice = (many["peak"] - many["before"]) / BLOCKS[1]
    method, said = levels * spent["reconstruct"], WHOLE * few["level"]
    return {
        "simulate, s a slice": spent["simulate"],
        "data step, s a slice and level": few["data_step"],
        "network, s a slice and level": few["level"] - few["data_step"],
        f"a slice with {WHOLE} levels, s": whole,
        "the same, µs a pixel": 1e6 * whole / pixels,
        "method alone, s a slice": method,
        "planned, s a slice": said,
        "time over planned": method / said,
        "process before, GB": many["before"] / 1e9,
        f"peak less that, MB a slice of {BLOCKS[1]}": a_slice / 1e6,
        "the same, bytes a pixel": a_slice / pixels,
        f"peak with {BLOCKS[0]} slices, GB": few["peak"] / 1e9,
        "planned, GB": few["planned"] / 1e9,
        "peak over planned": few["peak"] / few["planned"],
        f"peak with {BLOCKS[1]} slices, GB": many["peak"] / 1e9,
        f"planned with {BLOCKS[1]} slices, GB": many["planned"] / 1e9,
        f"peak over planned with {BLOCKS[1]} slices": many["peak"] / many["planned"],
        "projector: built in, s": built["build"],
        "projector: peak of the building process, GB": built["build_peak"] / 1e9,
        "projector: file, GB": built["kept"] / 1e9,
        "projector and prior: loaded in, s": few["prepared"],
    }


def thousand(width: int) -> str:
    """The text about a block of 1000 slices."""
    plan, limit = plan_of(width, 1000), parse_bytes(LIMIT)
    try:
        check_fits(plan, limit, f"a worker of {LIMIT}")
    except PlanError as refused:
        return f"- 128 x {width}: refused, `{refused}`"
    return f"- 128 x {width}: {worker_memory(plan).total / 1e9:.2f} GB, it fits"


def draw(found: dict[int, dict[str, Any]]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    size = [128 * width / 1e6 for width in found]
    panels = (
        ("seconds a slice", ("method alone, s a slice", "planned, s a slice")),
        ("peak, GB", (f"peak with {BLOCKS[1]} slices, GB", f"planned with {BLOCKS[1]} slices, GB")),
    )
    for axis, (label, names) in zip(axes, panels, strict=True):
        for name, style, legend in zip(names, ("o", "--"), ("measured", "planned"), strict=True):
            axis.plot(size, [row[name] for row in found.values()], style, label=legend)
        axis.set(xlabel="megapixels of a slice", ylabel=label, xlim=(0, None), ylim=(0, None))
        axis.legend(frameon=False)
    figure.savefig(RESULTS / "scale.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--build", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--block", type=int, nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.build or a.block:
        print(json.dumps(build(a.build) if a.build else block(*a.block)))
        return
    began = os.getloadavg()[0]
    found = {width: measured(width) for width in a.widths}
    names = next(iter(found.values()))
    rows = [{"what": n, **{f"128 x {w}": found[w][n] for w in found}} for n in names]
    draw(found)
    load = f"The system's load was {began:.1f} before and {os.getloadavg()[0]:.1f} at the end."
    refused = "\n".join(thousand(width) for width in a.widths)
    report(
        "scale", "Wide slices: `small`, float32, one thread", rows, f"{NOTES}\n{refused}\n\n{load}"
    )


NOTES = f"""
![Time and memory against a slice's pixels](scale.png)

Lateral detector, 128 views, K = 25, batches of 8 slices; blocks of {BLOCKS[0]} and {BLOCKS[1]}
slices of noise, from a precomputed volume to the output. {LEVELS} noise levels were run; what is
said of {WHOLE} is the measured levels times {WHOLE // LEVELS}, with simulating, the algebraic
baseline and scoring added once; the larger block was run for its memory, with one level. Planned
are `ddgm plan`'s numbers, times from one call of each kind in the same process. Memory is the peak
of the resident set of a fresh process that finds the projector in its cache; a worker's process
holds Dask's worker, too.

What is said of a block of 1000 slices for a worker of {LIMIT}, the default of a local cluster:
"""


if __name__ == "__main__":
    main()
