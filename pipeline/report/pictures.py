"""The pictures of one slice: its tilt series, its layers, where they are wrong, what is sure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ddgm.pipeline.figures import Panel, grey_window, stack
from ddgm.pipeline.report.gallery import Gallery, Mark, Picture, number
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import SliceView, place_of, titles_of
from ddgm.pipeline.spec.output import ERRORS
from ddgm.pipeline.spec.plan import Plan

PARTS: dict[str, str] = {
    "invented": "Error that the tilts do not see: invented, or left out",
    "contradicted": "Error that contradicts what the tilts measured",
}
SUMS = "normalised units × pixels"  # of what is summed along a beam


def tilts_of(plan: Plan) -> tuple[float, float]:
    """Angles of the first and the last view, in degrees."""
    if plan.info.views is None:
        return plan.spec.tilts.range
    return plan.info.views[0][0], plan.info.views[-1][0]


def preview(run: RunData, view: SliceView) -> bytes | None:
    """One PNG of a slice's tilt series and layers; None where no layer can be read."""
    panels = _layers(run, view)
    if not panels:
        return None
    g, sides = run.plan.geometry, run.plan.sides_nm
    of = "" if g.aspect == 1 else " of {:g} × {:g} nm".format(*sides)
    note = f"{place_of(run, view)} · {g.thickness} × {g.width} pixels{of}"
    return stack(_tilt_series(run, view) + panels, g.width, sides[1], note, g.aspect)


def tilt_series(run: RunData, view: SliceView) -> Gallery | None:
    """A slice's sinogram, if that is kept."""
    panels = _tilt_series(run, view)
    g, right = run.plan.geometry, run.plan.sides_nm[1]
    first, last = (number(tilt) for tilt in tilts_of(run.plan))
    beyond = (g.bins - g.width) / 2 / g.bins
    edges = [Mark("edge", "left", share) for share in (beyond, 1 - beyond) if beyond > 0]
    caption = f"What {place_of(run, view)} was made of: views from {first}° (top) to {last}°."
    if edges:
        caption += " The dashed lines are the slice's edges."
    pictures = [Picture(panel, SUMS, edges) for panel in panels]
    return Gallery(pictures, caption, (right, right)) if pictures else None


def layers(run: RunData, view: SliceView, which: str) -> Gallery | None:
    """A slice's reconstruction, algebraic reconstruction and truth, as far as they are kept."""
    panels = _layers(run, view)
    alike = "; all in the same shades of grey" if len(panels) > 1 else ""
    caption = f"The slice of {which} {run.ranking_title}, {place_of(run, view)}{alike}."
    return _gallery(run, map(Picture, panels), caption)


def differences(run: RunData, view: SliceView) -> Gallery | None:
    """Absolute differences to the truth; None where that is not stored."""
    names = {"reconstruction": run.method, "algebraic": "Algebraic"}
    panels = _differences(view, {k: f"|{name} − truth|" for k, name in names.items()})
    return _gallery(run, map(Picture, panels), "Where the same slice is wrong, and how much.")


def trust(run: RunData, view: SliceView) -> Gallery | None:
    """A slice's spread, measured share, parts of its error and intervals, after the error; None of
    none."""
    kept, own = view.layers, list[Picture]()
    wrong = _differences(view, {"reconstruction": f"|{run.method} − truth|"})
    if "spread" in kept:
        window = wrong[0].window if wrong else (0.0, float(kept["spread"].max()))
        title = "Spread of the chains (standard deviation)"
        own.append(Picture(Panel(title, kept["spread"], window, "inferno")))
    if "measured" in kept:
        panel = Panel("Measured share", kept["measured"], (0.0, 1.0), "viridis")
        own.append(Picture(panel, "(all from the data)"))
    parts = [layer for layer in ERRORS if layer in kept]
    top = max((float(np.percentile(np.abs(kept[k]), 99.5)) for k in parts), default=0.0) or 1.0
    for layer in parts:
        own.append(Picture(Panel(PARTS[layer], kept[layer], (-top, top), "RdBu_r")))
    if kept.keys() >= {"low", "high"}:
        width = kept["high"].astype(float) - kept["low"]
        own.append(
            Picture(Panel("Width of the intervals", width, (0.0, float(width.max())), "inferno"))
        )
    if kept.keys() >= {"low", "high", "truth"}:
        low, high, truth = (kept[name].astype(float) for name in ("low", "high", "truth"))
        beyond = np.maximum(low - truth, truth - high).clip(0)
        title = "Truth outside its interval, and how far"
        own.append(Picture(Panel(title, beyond, (0.0, float(beyond.max()) or 1.0), "inferno")))
    if not own:
        return None
    caption = f"The slice of median {run.ranking_title}, {place_of(run, view)}."
    return _gallery(run, [*map(Picture, wrong), *own], caption)


def _gallery(run: RunData, pictures: Iterable[Picture], caption: str) -> Gallery | None:
    shown = list(pictures)
    down, right = run.plan.sides_nm
    return Gallery(shown, caption, (down, right)) if shown else None


def _tilt_series(run: RunData, view: SliceView) -> list[Panel]:
    if "sinogram" not in view.layers:
        return []
    y = view.layers["sinogram"]
    title = f"Tilt series: {y.shape[0]} views × {y.shape[1]} bins"
    return [Panel(title, y, grey_window(y), degrees=tilts_of(run.plan))]


def _layers(run: RunData, view: SliceView) -> list[Panel]:
    """The layers that can be read, all in the last one's shades."""
    titles = {k: title for k, title in titles_of(run, view).items() if k in view.layers}
    if not titles:
        return []
    window = grey_window(view.layers[list(titles)[-1]])
    return [Panel(title, view.layers[k], window) for k, title in titles.items()]


def _differences(view: SliceView, titles: dict[str, str]) -> list[Panel]:
    """The error of each titled layer that can be read, all in the same colours."""
    kept = view.layers
    if "truth" not in kept:
        return []
    off = {k: np.abs(kept[k].astype(float) - kept["truth"]) for k in titles if k in kept}
    top = max((float(np.percentile(d, 99.5)) for d in off.values()), default=0.0) or 1.0
    return [Panel(titles[k], d, (0.0, top), "inferno") for k, d in off.items()]
