"""`ddgm evaluate --halves`: how far two reconstructions agree, each from half of the views."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ddgm.core.metrics.fourier import BETWEEN_HALVES, resolutions
from ddgm.pipeline.block import measured
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.block.solver import Solver, cached_projector, cached_solver
from ddgm.pipeline.block.stages import fetch
from ddgm.pipeline.evaluation.bodies import EvaluationError
from ddgm.pipeline.evaluation.table import lines
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Block, Plan
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import HALVES, RunStore

HEAD = "image", "along the width, nm", "along the thickness, nm"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Halves:
    """Resolution of a run by the agreement of its halves, in nm.

    Attributes:
        slices: that were reconstructed twice.
        views: of each half.
        method: resolution along the width and along the thickness, of the run's method.
        algebraic: the same of the algebraic reconstruction, which knows nothing beforehand.
    """

    slices: int
    views: tuple[int, int]
    method: dict[str, float]
    algebraic: dict[str, float]

    def table(self) -> str:
        """The resolutions in Markdown."""
        rows = [
            [name, *(f"{found[f'resolution_{axis}']:.4g}" for axis in ("width", "thickness"))]
            for name, found in (("method", self.method), ("algebraic", self.algebraic))
        ]
        one, two = self.views
        return (
            f"{self.slices} slices, from {one} views and from the {two} others: waves down to which"
            f" both agree (correlation {BETWEEN_HALVES})\n\n" + "\n".join(lines(HEAD, rows)) + "\n"
        )


def evaluate_halves(root: str, slices: int = 32, progress: Progress | None = None) -> Halves:
    """Reconstruct some slices of a run from each half of its views, and write halves.json.

    Every other view by its angle makes one half. It needs no truth: simulated views are simulated
    again, and measured ones read. What both halves have from the prior agrees, too, so the method's
    resolution is what it shows, not what was measured of it.

    Args:
        root: the run's folder, on a disk or in a store.
        slices: about how many; whole batches of whole blocks, evenly spaced.
        progress: called with the reconstructions that are done, and with how many there are.

    Raises:
        DdgmError: no such run, too few views, or a source that cannot be read.
    """
    store = RunStore(root)
    plan = plan_of(store.manifest())
    one, two = _halves(plan)
    blocks = _spread(plan, slices)
    found: dict[str, list[Tensor]] = {}
    for done, (index, half) in enumerate((b, h) for b in blocks for h in (two, one)):
        if progress:
            progress(done, 2 * len(blocks))
        for name, stack in _solved(plan, plan.block(index), half).items():
            found.setdefault(name, []).append(stack)
    if progress:
        progress(2 * len(blocks), 2 * len(blocks))
    count = sum(len(stack) for stack in found["reconstruction"][::2])
    method, algebraic = (_agreement(plan, found[n]) for n in ("reconstruction", "algebraic"))
    result = Halves(count, (len(one), len(two)), method, algebraic)
    store.folder.write(HALVES, json.dumps(asdict(result), indent=2).encode())
    return result


def _halves(plan: Plan) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of every other view by its angle, and of the rest.

    Raises:
        EvaluationError: there are too few, or the method's network is for all of them.
    """
    if "restorer" in plan.spec.method.networks:
        raise EvaluationError(
            f"--halves: {plan.spec.method.name} calls a network that restores the tilts of all "
            "views; run the spec with another method, such as ddx"
        )
    angles = plan.geometry.angles
    if len(angles) < 4:
        raise EvaluationError(f"--halves: {len(angles)} views leave too few in each half; 4 do not")
    by_angle = sorted(range(len(angles)), key=angles.__getitem__)
    return tuple(sorted(by_angle[::2])), tuple(sorted(by_angle[1::2]))


def _agreement(plan: Plan, stacks: list[Tensor]) -> dict[str, float]:
    """Resolution along both axes; stacks are of one half and of the other in turn."""
    pixel, aspect = plan.sides_nm[1], plan.geometry.aspect
    one, two = torch.cat(stacks[::2]), torch.cat(stacks[1::2])
    found = resolutions(one, two, pixel, aspect, BETWEEN_HALVES)
    return {key: float(value) for key, value in found.items()}


def _spread(plan: Plan, slices: int) -> list[int]:
    """Blocks, evenly spaced, of about so many slices."""
    count = min(plan.block_count, max(1, round(slices / plan.spec.block.slices)))
    places = np.linspace(0, plan.block_count - 1, count + 2)[1:-1]
    return sorted({int(place) for place in places.round()})


def _solved(plan: Plan, block: Block, left_out: tuple[int, ...]) -> dict[Layer, Tensor]:
    """A block's slices without some of the views, by the run's method and algebraically."""
    solver = _without(plan, left_out)
    read = fetch(plan, block).data
    if plan.is_measured:
        y = measured.completed(solver, *measured.sinograms(plan, read, block.stack))
    else:
        truth = torch.from_numpy(grey_scale(plan).normalised(read))
        y = solver.simulate(truth, block.stack)
    own = y[block.own]
    stacks: dict[Layer, Tensor] = {
        "reconstruction": solver.reconstruct(y, block.stack)[block.own],
        "algebraic": solver.algebraic(own),
    }
    return measured.cut(plan, block, stacks, read[block.own]) if plan.is_measured else stacks


def _without(plan: Plan, left_out: tuple[int, ...]) -> Solver:
    """The solver of a plan, with these of its views left out."""
    solver = cached_solver(plan)
    kept = plan.solved.of_views([i for i in range(plan.solved.views) if i not in left_out])
    name = plan.spec.tilts.projector
    half, whole = (cached_projector(g, solver.device, name) for g in (kept, plan.solved))
    return replace(solver, projector=half, whole=whole, out=left_out)
