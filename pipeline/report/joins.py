"""Joins of blocks along the tilt axis: does the step from slice to slice show where they meet?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from ddgm.pipeline.figures import CLASSICAL, FAINT, INK, OURS, STYLE, png
from ddgm.pipeline.report.figures import new_figure
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.output import Layer

JOINS = 16  # that are looked at, evenly spaced
SIDE = 5  # slices of either block: four steps on each side of the one between them
WIDEST = 2048  # pixels of a slice that are read, from its middle: 5 MB a layer and join at most


@dataclass(frozen=True)
class Joins:
    """Mean |difference| between neighbouring slices about joins of blocks, in grey levels.

    Attributes:
        steps: by layer, (joins, 2 * SIDE - 1), the join in the middle; NaN where nothing is.
    """

    steps: dict[Layer, np.ndarray]

    def seams(self, layer: Layer) -> np.ndarray:
        """Each join's step over the mean of those beside it, over the truth's own; (joins,)."""
        return _at_join(self.steps[layer]) / _at_join(self.steps["truth"])


def measured_joins(run: RunData) -> Joins | None:
    """Steps about some joins of finished blocks; None where there are none, or no truth."""
    found = joined_blocks(run)
    if "truth" not in run.names or not len(found):
        return None
    chosen = found[np.linspace(0, len(found) - 1, min(JOINS, len(found))).round().astype(int)]
    try:
        steps = {
            layer: np.stack([_steps(run, layer, int(i)) for i in chosen]) for layer in run.names
        }
    except (ValueError, RuntimeError, OSError):  # a damaged shard: the pictures say so
        return None
    steps = {layer: found for layer, found in steps.items() if np.isfinite(found).any()}
    return Joins(steps) if "truth" in steps else None


def joined_blocks(run: RunData) -> np.ndarray:
    """Indices of finished blocks that follow one in their slab, both of several slices."""
    done, plan = np.unique(run.columns["block"].astype(int)), run.plan
    found = done[1:][np.diff(done) == 1]
    place = found % plan.blocks_per_slab
    slices = np.minimum(plan.spec.block.slices, plan.slices - place * plan.spec.block.slices)
    return found[(place > 0) & (slices > 1)]


def _steps(run: RunData, layer: Layer, block: int) -> np.ndarray:
    """The steps about the join of a block and the one before it in a layer, (2 * SIDE - 1,)."""
    plan, first, second = run.plan, run.plan.block(block - 1), run.plan.block(block)
    tilt, _, across = plan.axes
    before, after = min(SIDE, len(first.origins)), min(SIDE, len(second.origins))
    join, start, stop = second.box.start[tilt], second.box.start[across], second.box.stop[across]
    cut = max(0, (stop - start - WIDEST) // 2)
    box = second.box.between(tilt, join - before, join + after)
    index = box.between(across, start + cut, stop - cut).slices(plan.region.start)
    with run.store.folder.store_errors():
        data = np.asarray(run.store.arrays.array(layer)[index])
    stack = layout_of(plan, layer).stack(data).astype(np.float32)
    steps = np.full(2 * SIDE - 1, np.nan)
    if not (
        stack[:before].any() and stack[before:].any()
    ):  # zarr gives zeros for what is not there
        return steps
    steps[SIDE - before : SIDE - 1 + after] = np.abs(np.diff(stack, axis=0)).mean(axis=(1, 2))
    return steps


def _at_join(steps: np.ndarray) -> np.ndarray:
    """The step at each join over the mean of those beside it."""
    return steps[:, SIDE - 1] / _mean(np.delete(steps, SIDE - 1, axis=1), axis=1)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of the finite values along an axis; NaN where there is none."""
    there = np.isfinite(values)
    sums = np.where(there, values, 0.0).sum(axis=axis)
    return np.where(there.any(axis=axis), sums / np.maximum(there.sum(axis=axis), 1), np.nan)


def joins_picture(joins: Joins, names: Mapping[Layer, str]) -> bytes:
    """Mean steps about the joins, over the mean of the truth's beside them."""
    colours: dict[Layer, str] = {"reconstruction": OURS, "truth": INK, "algebraic": CLASSICAL}
    where = np.arange(1 - SIDE, SIDE)
    means: dict[Layer, np.ndarray] = {
        layer: _mean(steps, axis=0) for layer, steps in joins.steps.items()
    }
    unit = np.nanmean(np.delete(means["truth"], SIDE - 1))
    with matplotlib.rc_context(STYLE):
        figure = new_figure()
        axes = figure.subplots()
        axes.axvline(0, color=FAINT, linestyle="--", linewidth=1)
        for layer, mean in means.items():
            axes.plot(where, mean / unit, ".-", color=colours[layer], label=names[layer])
        axes.set(xlabel="slices from the join of two blocks", ylabel="step to the next slice")
        axes.set_ylim(0, None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8)
        return png(figure)
