"""The size of a run: GPUs, the cores that feed them, hours and bytes, from what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil

from rich.filesize import decimal

from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.levels import bytes_to_write
from ddgm.pipeline.spec.memory import coupling_cost
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.terminal import Row, duration, plural

GPUS = 1, 4, 16  # that a run is shown on
RATE = 0.85  # of the bare solve's, that a run is to keep up with

# Seconds of a pixel of a slice. Of an H100, for a network evaluation by `full` in float8 with its
# data step: docs/results/solve-gpu.md. Of a core: docs/results/rehearsal.md.
EVALUATION = 14.7e-9  # the GPU's
NOISE = 11.5e-9  # of a core, for each evaluation
BLOCK = 0.15e-6  # fetching, simulating, writing
ALGEBRAIC = 0.12e-6
SCORE = 0.29e-6  # of each image that is scored


@dataclass(frozen=True)
class Size:
    """A run on some H100s.

    Attributes:
        gpus: how many.
        cores: that feed them, all together.
        seconds: of the run, at `RATE`.
    """

    gpus: int
    cores: int
    seconds: float


def sizes(plan: Plan) -> Iterator[Size]:
    """The run on each number of GPUs that it has blocks for; none where no network has a part."""
    method, g = plan.spec.method, plan.solved
    if not method.evaluations:
        return
    gpu = method.rounds * EVALUATION * coupling_cost(plan)
    images = 1 + ("algebraic" in plan.spec.output.layers)
    core = BLOCK + SCORE * images + ALGEBRAIC * (images - 1) + method.rounds * NOISE
    pixels = plan.slice_count * g.thickness * g.width
    for gpus in GPUS:
        if gpus <= plan.block_count:
            seconds = pixels * gpu / RATE / gpus
            yield Size(gpus, ceil(gpus * RATE * core / gpu), seconds)


def size_rows(plan: Plan) -> list[Row]:
    """Line on the GPUs, cores, hours and bytes of a run."""
    found = list(sizes(plan))
    if not found:
        return []
    read, written = fetch_bytes(plan).touched, bytes_to_write(plan)
    runs = "; ".join(
        f"{plural(s.gpus, 'GPU')}, {plural(s.cores, 'core')}: {duration(s.seconds)}" for s in found
    )
    text = f"{runs}; {decimal(read)} read, {decimal(written)} written, uncompressed"
    return [Row("on H100s, `full` in float8", text, {"sizes": [asdict(s) for s in found]})]
