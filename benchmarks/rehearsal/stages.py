"""CPU seconds of every stage of a block but the network: how many cores feed one GPU.

python -m benchmarks.rehearsal.stages [--slices 40] [--blocks 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import report
from benchmarks.rehearsal.tissue import hemibrain
from ddgm.core.simulation.noise import SliceOrigin
from ddgm.pipeline.block import context as block_context
from ddgm.pipeline.block.solver import Solver
from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec.yaml_file import load_spec

SPEC = Path(__file__).parents[2] / "deploy/specs/hemibrain.yaml"
# seconds of a slice of 128 x 1568 on an H100 in float8, docs/results/solve-gpu.md
H100 = {"DDGM, N = 50": 0.1359, "DDX, N = 10": 0.02791, "DDX, N = 5": 0.01472}
RATE = 0.85  # of the bare solve's, that a run is to keep up with

NOTES = """
The box of the paper behind an HTTP server with a latency of 20 to 80 ms and a gigabit a second, in
JPEG chunks of 64³; blocks are fetched, simulated, scored and written for real, and the network's
place is taken by a wait of what a GPU needs. CPU seconds are those of the whole process, all
threads, in the second block and those after it: the first loads the projector. Cores are those
that feed one H100 at 0.85 of its rate, all stages together, with nothing to spare.
"""


class CpuClock(block_context.Clock):
    """Seconds of the processor in place of the wall's."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count what the process spends in the context."""
        start = time.process_time()
        yield
        spent = time.process_time() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent


def wait(seconds: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """A `Solver.sample` that waits for so long a slice, and gives a result as smooth as any."""

    def sample(
        self: Solver, y: Tensor, origins: Sequence[SliceOrigin], *_: Any
    ) -> tuple[Tensor, Tensor]:
        time.sleep(seconds * len(y))
        g = self.projector.geometry
        x = torch.randn(len(y), g.thickness, g.width, generator=torch.Generator().manual_seed(0))
        return x, torch.zeros_like(x)

    return sample


def measured(slices: int, blocks: int) -> dict[str, float]:
    """CPU seconds a slice, by stage."""
    block_context.Clock = CpuClock  # type: ignore[misc]
    Solver.sample = wait(min(H100.values()))  # type: ignore[method-assign]
    with hemibrain() as url, tempfile.TemporaryDirectory() as name:
        spec = load_spec(SPEC)
        parts = {
            "source": spec.source.model_copy(update={"url": url}),
            "output": spec.output.model_copy(update={"path": f"{name}/run"}),
            "block": spec.block.model_copy(update={"slices": slices}),
        }
        context = prepare(spec.model_copy(update=parts))
        run_block(context, 0)
        start, total = time.process_time(), dict[str, float]()
        for block in range(1, 1 + blocks):
            for stage, seconds in run_block(context, block).seconds.items():
                total[stage] = total.get(stage, 0.0) + seconds
        total["rest"] = time.process_time() - start - sum(total.values())
    return {stage: seconds / (blocks * slices) for stage, seconds in total.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=2)
    a = parser.parse_args()
    found = measured(a.slices, a.blocks)
    stages = {stage: s for stage, s in found.items() if stage not in ("reconstruct", "load")}
    whole = sum(stages.values())
    cores = {f"{method}, {1e3 * s:.1f} ms": RATE * whole / s for method, s in H100.items()}
    table = [
        *({"what": f"{stage}, CPU ms a slice", "value": 1e3 * s} for stage, s in stages.items()),
        {"what": "all but the network, CPU ms a slice", "value": 1e3 * whole},
        *({"what": f"cores for one H100, {name} a slice", "value": n} for name, n in cores.items()),
    ]
    title = f"Cores that feed a GPU: slices of 128 x 1568 in blocks of {a.slices}"
    report("rehearsal-stages", title, table, NOTES)


if __name__ == "__main__":
    main()
