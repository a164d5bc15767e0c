"""The report's figures: arrays in, PNG bytes out. No window, no pyplot, no state left behind."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

OURS, CLASSICAL, INK, FAINT = "#0072b2", "#d55e00", "#1b1f24", "#8b949e"  # told apart by all eyes
STAGES = ("#0072b2", "#56b4e9", "#009e73", "#f0e442", "#e69f00", "#d55e00", "#cc79a7", "#999999")
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
DPI = 100
ROOM = 1500, 1300  # width and height that pixels are enlarged to fill, in dots
WIDEST = 1900  # above it they are made smaller than a dot


@dataclass(frozen=True)
class Panel:
    """One picture of a stack of pictures that share their lateral axis.

    Attributes:
        title: above it.
        image: (rows, columns); columns are pixels of the slab, centred on the slice.
        window: values that are drawn as the first and the last colour.
        colours: matplotlib's name of the colours.
        degrees: first and last tilt, where the rows are views.
    """

    title: str
    image: np.ndarray
    window: tuple[float, float]
    colours: str = "gray"
    degrees: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """A method's values of one metric, by slice."""

    name: str
    colour: str
    values: np.ndarray


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """What a picture's grey shades span: all but its outermost half percents, which are noise."""
    low, high = np.percentile(image, (0.5, 99.5)).tolist()
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def images(layers: Mapping[str, np.ndarray], titles: Mapping[str, str]) -> list[Panel]:
    """The layers that have a title, in the titles' order and all in the last one's shades."""
    shown = [name for name in titles if name in layers]
    window = grey_window(layers[shown[-1]]) if shown else (0.0, 1.0)
    return [Panel(titles[name], layers[name], window) for name in shown]


def differences(
    layers: Mapping[str, np.ndarray], titles: Mapping[str, str], truth: np.ndarray
) -> list[Panel]:
    """How far each layer that has a title is from the truth, all in the same colours."""
    off = {k: np.abs(layers[k].astype(float) - truth) for k in titles if k in layers}
    top = max((float(np.percentile(d, 99.5)) for d in off.values()), default=0.0) or 1.0
    return [Panel(titles[k], d, (0.0, top), "inferno") for k, d in off.items()]


def scale_bar(width_nm: float) -> tuple[float, str]:
    """A round length of a tenth to a quarter of a width, in nm and as text."""
    decade = 10.0 ** np.floor(np.log10(width_nm / 4))
    nm = float(max(m * decade for m in (1, 2, 5) if m * decade <= width_nm / 4))
    return nm, f"{nm:g} nm" if nm < 1000 else f"{nm / 1000:g} µm"


def stack(panels: Sequence[Panel], width: int, pixel_nm: float, note: str) -> bytes:
    """Pictures one below the other, as in the paper's Fig. 1, with a scale bar and a note.

    A panel wider than the slice (a lateral detector's sinogram) reaches as far beyond it on
    both sides. A pixel becomes a whole number of dots where the figure does not grow too large.

    Args:
        panels: from top to bottom.
        width: of the slice, in pixels.
        pixel_nm: lateral side of a pixel.
        note: for the foot of the figure.
    """
    across, height = max(p.image.shape[1] for p in panels), panels[-1].image.shape[0]
    dots = max(1, min(4, ROOM[0] // across, ROOM[1] // (height * len(panels))))
    dots = min(dots, WIDEST / across)
    unit = max(1.0, across * dots / 1000)  # wide figures are shown smaller: larger letters
    # all in whole dots, or else every pixel is smeared over two
    left, top, foot = round(44 * unit), round(26 * unit), round(46 * unit)
    tall = round(height * dots)
    figure_width = max(round(across * dots) + 2 * left, 520)
    figure_height = len(panels) * (tall + top) + foot
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(figure_width / DPI, figure_height / DPI), dpi=DPI)
        for i, panel in enumerate(panels):
            columns = round(panel.image.shape[1] * dots)
            y = figure_height - (i + 1) * (tall + top)
            axes = _axes(figure, (figure_width - columns) // 2, y, columns, tall)
            _draw(axes, panel, width, unit)
        _foot(figure, width * dots, pixel_nm * width, note, unit)
        return png(figure)


def _axes(figure: Figure, x: float, y: float, w: float, h: float) -> Axes:
    """Axes at a place given in dots."""
    across, high = figure.get_size_inches() * DPI
    return figure.add_axes((x / across, y / high, w / across, h / high))


def _draw(axes: Axes, panel: Panel, width: int, unit: float) -> None:
    low, high = panel.window
    top, bottom = panel.degrees or (0, panel.image.shape[0])
    extent = (0, panel.image.shape[1], bottom, top)
    # "antialiased" would blur whole dots too, by its rounding
    rows, columns = panel.image.shape
    smaller = round(axes.bbox.width) < columns or round(axes.bbox.height) < rows
    axes.imshow(
        panel.image, panel.colours, vmin=low, vmax=high, extent=extent, aspect="auto",
        interpolation="antialiased" if smaller else "nearest",
    )  # fmt: skip
    axes.set_title(panel.title, fontsize=9 * unit, pad=5 * unit)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if panel.degrees:
        middle = (top + bottom) / 2
        ticks = top, middle, bottom
        axes.set_yticks(
            ticks, [f"{t:+.0f}°".replace("-", "−") if round(t) else "0°" for t in ticks]
        )
        axes.tick_params(labelsize=7.5 * unit, length=2 * unit, pad=2 * unit)
    for edge in (panel.image.shape[1] - width) / 2, (panel.image.shape[1] + width) / 2:
        if 0 < edge < panel.image.shape[1]:
            axes.axvline(edge, color="#56b4e9", linewidth=unit, linestyle=(0, (4, 3)))


def _foot(figure: Figure, slice_dots: float, width_nm: float, note: str, unit: float) -> None:
    """The scale bar at the right end of the slice, and the note below it."""
    across, _ = figure.get_size_inches() * DPI
    nm, text = scale_bar(width_nm)
    length, right = slice_dots * nm / width_nm, (across + slice_dots) / 2
    axes = _axes(figure, 0, 0, across, 40 * unit)
    axes.set(xlim=(0, across), ylim=(0, 40))
    axes.axis("off")
    axes.plot(
        [right - length, right], [31, 31], color=INK, linewidth=2.5 * unit, solid_capstyle="butt"
    )
    size = 8 * unit
    axes.text(right - length - 6 * unit, 31, text, ha="right", va="center", fontsize=size)
    axes.text(across / 2, 10, note, ha="center", va="center", fontsize=size, color="#57606a")


def distributions(mse: Sequence[Series], ssim: Sequence[Series]) -> bytes:
    """Histograms over slices of the two scores."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.1), dpi=DPI, layout="constrained")
        left, right = figure.subplots(1, 2)
        _histogram(left, mse, "MSE, lower is better")
        _histogram(right, ssim, "SSIM, higher is better")
        return png(figure)


def residuals(series: Sequence[Series], at_noise: bool) -> bytes:
    """Histogram of the data residual; with a line at 1 where it is in units of the noise."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.6), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        label = "data residual, in units of the noise" if at_noise else "mean square residual"
        _histogram(axes, series, label, mark=1.0 if at_noise else None)
        return png(figure)


def _histogram(axes: Axes, series: Sequence[Series], label: str, mark: float | None = None) -> None:
    shown = [Series(s.name, s.colour, s.values[np.isfinite(s.values)]) for s in series]
    values = np.concatenate([s.values for s in shown])
    span = np.append(values, [] if mark is None else mark)
    if len(span):
        bins = np.linspace(span.min(), span.max(), 41) if np.ptp(span) > 0 else 10
        for s in shown:
            axes.hist(s.values, bins=bins, color=s.colour, alpha=0.65, label=s.name)
            if len(s.values):
                axes.axvline(float(s.values.mean()), color=s.colour, linestyle="--", linewidth=1.2)
    if mark is not None:
        axes.axvline(mark, color=INK, linewidth=1.2)
        axes.annotate(" noise", (mark, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
    axes.set_xlabel(label)
    axes.set_ylabel("slices")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)


def positions(where: np.ndarray, slabs: np.ndarray, series: Sequence[Series], axis: str) -> bytes:
    """MSE along the tilt axis, one line a slab, broken where slices are not done.

    Args:
        where: each slice's voxel along the tilt axis.
        slabs: each slice's slab.
        series: MSE by method.
        axis: the tilt axis' name.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.8), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        several = len(np.unique(slabs)) > 1
        for s in series:
            for slab in np.unique(slabs):
                x, y = _with_gaps(where[slabs == slab], s.values[slabs == slab])
                # a slice between two gaps is no line: the dots show it
                axes.plot(x, y, ".-", color=s.colour, linewidth=1, ms=2.5, alpha=1 - 0.4 * several)
            axes.plot([], [], color=s.colour, label=s.name)
        axes.set(xlabel=f"slice: voxel along {axis}", ylabel="MSE", ylim=(0, None))
        axes.margins(x=0.01)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8)
        return png(figure)


def _with_gaps(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points in order of x, with a NaN wherever x jumps by more than 1."""
    order = np.argsort(x, kind="stable")
    x, y = x[order].astype(float), y[order].astype(float)
    gaps = np.flatnonzero(np.diff(x) > 1) + 1
    return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)


def calibration(predicted: np.ndarray, found: np.ndarray) -> bytes:
    """Root mean square error over the chains' spread, in groups of pixels; dashed: equal."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5, 3.6), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        top = 1.05 * max(float(predicted.max()), float(found.max()))
        axes.plot([0, top], [0, top], color=FAINT, linestyle="--", linewidth=1)
        axes.plot(predicted, found, ".-", color=OURS)
        axes.set(xlim=(0, top), ylim=(0, top))
        axes.set(xlabel="spread of the chains, grey levels", ylabel="error (RMS), grey levels")
        return png(figure)


def timings(seconds: Mapping[str, float]) -> bytes:
    """One bar: the mean block's seconds, stage after stage."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.5), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        start, total = 0.0, sum(seconds.values())
        for i, (name, length) in enumerate(seconds.items()):
            colour = STAGES[i % len(STAGES)]
            label = f"{name}, {length:.3g} s"
            axes.barh(0, length, left=start, color=colour, label=label, edgecolor="white", lw=0.5)
            start += length
        axes.set(yticks=[], xlabel="seconds per block, mean", xlim=(0, total or 1))
        axes.spines["left"].set_visible(False)
        axes.legend(
            frameon=False, fontsize=8, ncols=len(seconds) or 1, loc="lower left",
            bbox_to_anchor=(0, 1), columnspacing=1.2, handlelength=1, handletextpad=0.4,
        )  # fmt: skip
        return png(figure)


def png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white", metadata={"Software": None})
    return out.getvalue()
