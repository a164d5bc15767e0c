"""The slices that a report shows, read one by one, and their pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddgm.pipeline.figures import Panel, grey_window, stack
from ddgm.pipeline.report import figures
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.model import Layer


@dataclass(frozen=True)
class SliceView:
    """The layers of one slice that can be shown, and why the others cannot."""

    row: int
    layers: dict[str, np.ndarray]
    problems: list[str]


def pick_slices(mse: np.ndarray) -> dict[str, int]:
    """The rows of the slices of median, least and largest MSE; of equals, the first."""
    order = np.argsort(mse, kind="stable")[: max(1, int(np.isfinite(mse).sum()))]
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


def _stack(run: RunData, view: SliceView, panels: list[Panel], remark: str = "") -> bytes | None:
    if not panels:
        return None
    geometry, sides = run.plan.geometry, run.plan.sides_nm
    of = "" if geometry.aspect == 1 else " of {:g} × {:g} nm".format(*sides)
    note = f"{place_of(run, view)} · {geometry.thickness} × {geometry.width} pixels{of}{remark}"
    return stack(panels, geometry.width, sides[1], note, geometry.aspect)


def place_of(run: RunData, view: SliceView) -> str:
    """Place of a slice, in words."""
    slab = run.plan.block(int(run.columns["block"][view.row])).slab
    several = f", slab {slab}" if len(run.plan.slabs) > 1 else ""
    return f"slice {run.tilt_axis} = {run.columns['slice'][view.row]:.0f}{several}"


def _titles(run: RunData, view: SliceView) -> dict[str, str]:
    """Titles of a slice's panels: each method with its scores, and the truth."""
    scores = {
        prefix: "MSE {:.4f}, SSIM {:.4f}".format(
            *(run.columns[prefix + m][view.row] for m in ("mse", "ssim"))
        )
        for prefix in ("", "algebraic_")
        if f"{prefix}mse" in run.columns
    }
    titles = {"reconstruction": f"{run.method}: {scores['']}"}
    if "algebraic_" in scores:
        titles["algebraic"] = f"Algebraic: {scores['algebraic_']}"
    return {**titles, "truth": "Truth"}


def slice_picture(run: RunData, view: SliceView, measured: bool) -> bytes | None:
    """Picture of a slice's sinogram, reconstruction and truth, as in the paper's Fig. 1."""
    panels = figures.images(view.layers, _titles(run, view))
    if measured and panels and "sinogram" in view.layers:
        y = view.layers["sinogram"]
        title = f"Tilt series: {y.shape[0]} views × {y.shape[1]} bins"
        window, tilts = grey_window(y), run.plan.spec.tilts
        panels.insert(0, Panel(title, y, window, degrees=tilts.range))
    return _stack(run, view, panels)


def difference_picture(run: RunData, view: SliceView) -> bytes | None:
    """Absolute differences to the truth; None where that is not stored."""
    if "truth" not in view.layers:
        return None
    names = {"reconstruction": run.method, "algebraic": "Algebraic"}
    titles = {k: f"|{name} − truth|" for k, name in names.items()}
    panels = figures.differences(view.layers, titles, view.layers["truth"])
    return _stack(run, view, panels, _key(panels))


def trust_picture(run: RunData, view: SliceView) -> bytes | None:
    """Picture of a slice's spread and measured share, below the error where truth is stored."""
    layers, panels = view.layers, []
    if "truth" in layers and "reconstruction" in layers:
        title = f"|{run.method} − truth|"
        panels += figures.differences(layers, {"reconstruction": title}, layers["truth"])
    if "spread" in layers:
        window = panels[0].window if panels else (0.0, float(layers["spread"].max()))
        title = "Spread of the chains (standard deviation)"
        panels.append(Panel(title, layers["spread"], window, "inferno"))
    if "measured" in layers:
        title = "Measured share: dark is the prior's, bright the data's"
        panels.append(Panel(title, layers["measured"], (0.0, 1.0), "viridis"))
    own = "spread" in layers or "measured" in layers
    return _stack(run, view, panels, _key(panels)) if own else None


def _key(panels: list[Panel]) -> str:
    """Legend of black and yellow, in grey levels."""
    tops = [p.window[1] for p in panels if p.colours == "inferno"]
    return f" · black: 0, yellow: {tops[0]:.3g} grey levels or more" if tops else ""
