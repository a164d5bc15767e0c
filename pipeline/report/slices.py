"""The slices that a report shows, read one by one, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.output import Layer


@dataclass(frozen=True)
class SliceView:
    """The layers of one slice that can be shown, and why the others cannot."""

    row: int
    layers: dict[str, np.ndarray]
    problems: list[str]


def pick_slices(score: np.ndarray) -> dict[str, int]:
    """The rows of the slices of median, least and largest score; of equals, the first."""
    order = np.argsort(score, kind="stable")[: max(1, int(np.isfinite(score).sum()))]
    return {
        "median": int(order[(len(order) - 1) // 2]),
        "best": int(order[0]),
        "worst": int(order[-1]),
    }


def view_of(run: RunData, row: int) -> SliceView:
    """The layers of the slice in this row of the run's columns."""
    view = SliceView(row, {}, [])
    for layer in run.plan.spec.output.layers:
        try:
            image = _read(run, layer, row)
        except (ValueError, RuntimeError, OSError) as error:
            view.problems.append(f"The layer {layer} cannot be read here ({error}).")
            continue
        if image.any():
            view.layers[layer] = image
        else:  # zarr gives zeros for what is not there
            view.problems.append(f"The layer {layer} is all zeros here, or not there.")
    return view


def _read(run: RunData, layer: Layer, row: int) -> np.ndarray:
    """One slice of a layer, (thickness, width) or (views, bins), and nothing more."""
    plan = run.plan
    block = plan.block(int(run.columns["block"][row]))
    k = int(run.columns["slice"][row]) - block.box.start[plan.axes[0]]
    layout = layout_of(plan, layer)
    with run.store.folder.store_errors():
        data = np.asarray(run.store.arrays.array(layer)[layout.slice_index(block, k)])
    return layout.stack(data)[0]


def place_of(run: RunData, view: SliceView) -> str:
    """Place of a slice, in words."""
    slab = run.plan.block(int(run.columns["block"][view.row])).slab
    several = f", slab {slab}" if len(run.plan.slabs) > 1 else ""
    return f"slice {run.tilt_axis} = {run.columns['slice'][view.row]:.0f}{several}"


def titles_of(run: RunData, view: SliceView) -> dict[str, str]:
    """Titles of a slice's panels: each method with its scores, and the truth."""
    shown = {"mse": "MSE", "ssim": "SSIM"}
    if run.ranking != "mse":
        shown = {"residual": "residual", "held_out": "held out"}
    scores = {
        prefix: ", ".join(
            f"{name} {run.columns[prefix + m][view.row]:.4f}"
            for m, name in shown.items()
            if prefix + m in run.columns
        )
        for prefix in ("", "algebraic_")
        if f"{prefix}{run.ranking}" in run.columns
    }
    titles: dict[Layer, str] = {"reconstruction": f"{run.method}: {scores['']}"}
    if "algebraic_" in scores:
        titles["algebraic"] = f"Algebraic: {scores['algebraic_']}"
    return {**titles, "truth": "Truth"}
