"""The way of one block: fetch, simulate, reconstruct, score, write."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from math import inf, isfinite

import numpy as np
import torch
from torch import Tensor

from ddgm.core.errors import DdgmError
from ddgm.core.intensity import Intensity
from ddgm.core.process_memory import peak_bytes
from ddgm.core.process_work import work
from ddgm.pipeline.block import measured
from ddgm.pipeline.block.calibration import parsed
from ddgm.pipeline.block.context import (
    Clock,
    StageOutput,
    computed,
    release_slot,
    running_stage,
    sum_seconds,
    worker_name,
)
from ddgm.pipeline.block.intensity import bound, grey_scale, in_steps
from ddgm.pipeline.block.solver import Solver, cached_solver
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.spec.cost.fetch import cache_bytes
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.opened import source_volume, tilt_series
from ddgm.pipeline.spec.output import BOUNDS, ERRORS, GREY, Layer
from ddgm.pipeline.spec.plan import Block, Plan
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.levels.making import Levels
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.limits.traffic import METER
from ddgm.pipeline.volumes.volume import Cutout

_reading = threading.Lock()  # cloud-volume: one reading thread per process


class NumericalError(DdgmError):
    """A reconstruction that is not made of finite numbers."""


def fetch(plan: Plan, block: Block) -> Cutout:
    """A block's voxels and its halo's as a stack of slices, (n, thickness, width), in grey levels.

    Voxels that the source lacks are counted in the block alone: its neighbours count their own. Of
    a measured series these are the slices' sinograms, (n, views, bins).

    Raises:
        SourceError: they cannot be read.
    """
    if plan.is_measured:
        return Cutout(tilt_series(plan.spec).read(block.stack[0][2], block.stack[-1][2] + 1), 0)
    volume, axis = source_volume(plan.spec), plan.axes[0]
    volume.chunks.grow(cache_bytes(plan))
    cutouts = {box: volume.read(box) for box in plan.reads(block)}
    parts = [cutout.data for cutout in cutouts.values()]
    stack = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
    return Cutout(stack.transpose(plan.axes), cutouts[block.box].missing_voxels)


def layers_of(
    plan: Plan, grey: Intensity, stacks: dict[Layer, Tensor], source: np.ndarray
) -> dict[Layer, np.ndarray]:
    """Slice stacks as the layers that the spec wants written, each in its array's axes.

    Args:
        plan: says which, and their dtypes.
        grey: turns the stacks into grey levels.
        stacks: of every layer, normalised.
        source: the source's own grey levels, which the layer `truth` holds unrounded.
    """

    out = plan.spec.output

    def values(layer: Layer) -> np.ndarray:
        if layer == "truth":
            return in_steps(source.astype(out.dtype), out.grey_step)
        if layer in BOUNDS:
            return bound(grey, layer == "low", stacks[layer], stacks["reconstruction"], out.dtype)
        if layer in GREY:
            return in_steps(grey.grey(stacks[layer].numpy(), out.dtype), out.grey_step)
        if layer == "spread" or layer in ERRORS:  # differences of grey levels
            return stacks[layer].numpy() * np.float32(grey.std)
        return stacks[layer].numpy()

    return {
        layer: layout_of(plan, layer).stored(values(layer)) for layer in plan.spec.output.layers
    }


def score(
    solver: Solver,
    plan: Plan,
    block: Block,
    stacks: dict[Layer, Tensor],
    source: np.ndarray,
) -> list[dict[str, float]]:
    """Metrics of each slice: `slice` (its voxel along the tilt axis), those of `Solver.score`, the
    algebraic reconstruction's, prefixed, where there is one, and of intervals `coverage`, the share
    of truth in them, and `width`, their mean. What is no number, as the seam energy of a constant
    slice, is left out.

    Of a measured series, whose sinograms `source` are, there is no truth."""
    pixel = plan.sides_nm[1]
    known = measured.sinograms(plan, source, block.origins) if plan.is_measured else None

    def scored(x: Tensor) -> dict[str, Tensor]:
        if known is not None:
            return measured.scores(solver, x, *known)
        return solver.score(x, stacks["truth"], stacks["sinogram"], block, pixel)

    columns = scored(stacks["reconstruction"])
    if "algebraic" in stacks:
        columns |= {f"algebraic_{k}": v for k, v in scored(stacks["algebraic"]).items()}
    if "low" in stacks:
        low, high, truth = stacks["low"], stacks["high"], stacks["truth"]
        columns["coverage"] = ((low <= truth) & (truth <= high)).float().mean((1, 2))
        columns["width"] = (high - low).mean((1, 2))
    rows = zip(*(v.tolist() for v in columns.values()), strict=True)
    return [
        {"slice": origin[2], **{k: v for k, v in zip(columns, row, strict=True) if isfinite(v)}}
        for origin, row in zip(block.origins, rows, strict=True)
    ]


Stack = Mapping[Layer, np.ndarray]


def fetch_stage(context: RunContext, task: BlockTask) -> StageOutput[Cutout]:
    """Read a block's voxels, one block at a time in a process, beside what it computes.

    Raises:
        DdgmError: they cannot be read; or this worker's code is not the driver's.
    """
    release_slot()
    METER.bandwidth.set((context.plan.spec.source.bandwidth or inf) / task.readers)
    with _reading, running_stage(context, task, "fetch") as clock:
        before = METER.traffic
        with clock("fetch"):
            cutout = fetch(context.plan, context.plan.block(task.block))
        return StageOutput(cutout, clock.seconds, read=asdict(METER.traffic - before))


def simulate_stage(
    context: RunContext, task: BlockTask, cutout: StageOutput[Cutout]
) -> StageOutput[np.ndarray]:
    """A block's tilt series, (n, views, bins): made of its voxels; or the measured, completed."""
    plan = context.plan
    with running_stage(context, task, "simulate") as clock:
        solver, grey = load_tools(context, task, clock)
        if plan.is_measured:
            with clock("complete"):
                y, bins = measured.sinograms(plan, cutout.data.data, plan.block(task.block).stack)
                y = measured.completed(solver, y, bins)
        else:
            with clock("simulate"):
                truth = torch.from_numpy(grey.normalised(cutout.data.data))
                y = solver.simulate(truth, plan.block(task.block).stack)
        return StageOutput(y.numpy(), clock.seconds, clock.on_gpu)


def reconstruct_stage(
    context: RunContext, task: BlockTask, sinogram: StageOutput[np.ndarray]
) -> StageOutput[Stack]:
    """A block's slices by the spec's method.

    Raises:
        NumericalError: the result is not finite.
    """
    with running_stage(context, task, "reconstruct") as clock:
        solver, _ = load_tools(context, task, clock)
        block = context.plan.block(task.block)
        y = torch.from_numpy(sinogram.data)
        at, steps = f"reconstructing block {task.block}", solver.steps(len(y))
        with clock("reconstruct"), work(at, steps, task.name) as step:
            x, spread = (layer[block.own] for layer in solver.sample(y, block.stack, step))
        if not torch.isfinite(x).all():
            raise NumericalError(
                f"block {task.block}: the reconstruction is not finite; check method.step and "
                "method.sigma"
            )
        stacks: dict[Layer, np.ndarray] = {"reconstruction": x.numpy()}
        if "spread" in context.plan.spec.output.layers:
            stacks["spread"] = spread.numpy()
        calibrated = parsed(context.calibration) if context.calibration else None
        wanted = "measured" in context.plan.spec.output.layers
        measured = torch.zeros_like(x)
        if wanted or (calibrated is not None and "measured" in calibrated.map.curves):
            with clock("measured"):
                measured = solver.measured(x)
        if wanted:
            stacks["measured"] = measured.numpy()
        if calibrated is not None:
            with clock("intervals"):
                half = calibrated.scale * solver.expected_error(calibrated.map, x, spread, measured)
            stacks["low"], stacks["high"] = (x - half).numpy(), (x + half).numpy()
        return StageOutput(stacks, clock.seconds, clock.on_gpu)


def finish_stage(
    context: RunContext,
    task: BlockTask,
    cutout: StageOutput[Cutout],
    sinogram: StageOutput[np.ndarray],
    made: StageOutput[Stack],
) -> Record:
    """Score a block and write it: its data in place first, and then its record, which is returned.

    Last it makes the shards of coarser levels below which all is done now.

    Raises:
        DdgmError: the output cannot be written.
    """
    plan, block, store = context.plan, context.plan.block(task.block), RunStore(context.root)
    with running_stage(context, task, "finish") as clock:
        solver, grey = load_tools(context, task, clock)
        source = cutout.data.data[block.own]
        stacks: dict[Layer, Tensor] = {
            "sinogram": torch.from_numpy(sinogram.data[block.own]),
            **{layer: torch.from_numpy(stack) for layer, stack in made.data.items()},
        }
        if not plan.is_measured:
            stacks["truth"] = torch.from_numpy(grey.normalised(source))
        if "algebraic" in plan.spec.output.layers:
            with clock("algebraic"):
                stacks["algebraic"] = solver.algebraic(stacks["sinogram"])
        if set(ERRORS) & set(plan.spec.output.layers):
            error = stacks["reconstruction"] - stacks["truth"]
            stacks["contradicted"] = solver.contradicted(error)
            stacks["invented"] = error - stacks["contradicted"]
        with clock("score"):
            metrics = score(solver, plan, block, stacks, source)
        if plan.is_measured:
            stacks = measured.cut(plan, block, stacks, source)
        with clock("write"):
            written = store.write(plan, block, layers_of(plan, grey, stacks, source))
        record = Record(
            block=block.index,
            digest=context.digest,
            state="done",
            attempts=task.attempt,
            checksums=written.checksums,
            sizes=written.sizes,
            missing_voxels=cutout.data.missing_voxels,
            metrics=metrics,
            seconds=sum_seconds(cutout.seconds, sinogram.seconds, made.seconds, clock.seconds),
            gpu_seconds=sum_seconds(*(computed(s) for s in (sinogram, made, clock))),
            read=cutout.read,
            worker=worker_name(),
            peak=peak_bytes(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        store.ledger.put(record)
    if context.levels:
        # the block is done: what fails here is in the log, and made at the run's end
        with suppress(Exception), running_stage(context, task, "levels") as clock, clock("levels"):
            Levels(store, plan, context.digest).climb(block.index)
    return record


def solve_stage(context: RunContext, task: BlockTask, cutout: StageOutput[Cutout]) -> Record:
    """All that follows the fetching, on one worker."""
    sinogram = simulate_stage(context, task, cutout)
    made = reconstruct_stage(context, task, sinogram)
    return finish_stage(context, task, cutout, sinogram, made)


def run_block(context: RunContext, index: int) -> Record:
    """All stages of one block, one after the other, in this process.

    Raises:
        DdgmError: what a user can mend: the source, the weights, the step, the output.
        NumericalError: the result is not finite.
    """
    task = BlockTask(index)
    return solve_stage(context, task, fetch_stage(context, task))


def load_tools(context: RunContext, task: BlockTask, clock: Clock) -> tuple[Solver, Intensity]:
    """The solver and the intensity that a stage works with, loaded once per process."""
    torch.set_num_threads(context.plan.spec.cluster.threads)  # nannies set it to 1
    with clock("load"):
        solver = cached_solver(context.plan, task.calls)
        clock.on_gpu = solver.device.type == "cuda"
        return solver, grey_scale(context.plan)
