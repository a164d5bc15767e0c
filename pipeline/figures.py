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
LETTER = 8  # dots of a letter of a label, at most on average
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


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """Grey levels shown as black and white: all but the outermost half percents (noise)."""
    low, high = np.percentile(image, (0.5, 99.5)).tolist()
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def scale_bar(width_nm: float) -> tuple[float, str]:
    """A round length of a tenth to a quarter of a width, in nm and as text."""
    decade = 10.0 ** np.floor(np.log10(width_nm / 4))
    nm = float(max(m * decade for m in (1, 2, 5) if m * decade <= width_nm / 4))
    return nm, f"{nm:g} nm" if nm < 1000 else f"{nm / 1000:g} µm"


def stack(
    panels: Sequence[Panel], width: int, pixel_nm: float, note: str, aspect: float = 1.0
) -> bytes:
    """Pictures one below the other, as in the paper's Fig. 1, with a scale bar and a note.

    A panel wider than the slice (a lateral detector's sinogram) reaches as far beyond it on
    both sides. A pixel becomes a whole number of dots where the figure does not grow too large.

    Args:
        panels: from top to bottom.
        width: of the slice, in pixels.
        pixel_nm: lateral side of a pixel.
        note: for the foot of the figure.
        aspect: a pixel's height over its width; pixels are drawn with these proportions.
    """
    across, height = max(p.image.shape[1] for p in panels), aspect * panels[-1].image.shape[0]
    dots = max(1, min(4, ROOM[0] // across, int(ROOM[1] / (height * len(panels)))))
    rows = max(1 / max(1, aspect), ROOM[1] / (height * len(panels)))  # a dot to a row at least
    dots = min(dots, WIDEST / across, rows)
    unit = max(1.0, across * dots / 1000)  # wide figures are shown smaller: larger letters
    # all in whole dots, or else every pixel is smeared over two
    left, top, foot = round(44 * unit), round(26 * unit), round(46 * unit)
    tall = max(1, round(height * dots))
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


def png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white", metadata={"Software": None})
    return out.getvalue()


GAP = 4  # pixels between the images of a grid


TILE = 128  # dots of an image in a table


@dataclass(frozen=True)
class Curve:
    """A named line through points."""

    name: str
    colour: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Plot:
    """Axes with curves.

    Attributes:
        title: above it.
        labels: of x and y.
        curves: drawn one over the other, the last on top.
        scales: of x and y, matplotlib's names.
        ticks: values of x that get a tick; default: matplotlib's.
    """

    title: str
    labels: tuple[str, str]
    curves: Sequence[Curve]
    scales: tuple[str, str] = ("linear", "linear")
    ticks: Sequence[float] = ()


def plots(*rows: Sequence[Plot]) -> bytes:
    """Rows of plots, each with the names of its curves unless the first of its row has the same."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.2 * len(rows)), dpi=DPI, layout="constrained")
        grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
        cells = [(row, plot) for row in rows for plot in row]
        for axes, (row, plot) in zip(grid.flat, cells, strict=True):
            for c in plot.curves:
                axes.plot(c.x, c.y, color=c.colour, label=c.name, linewidth=1.4)
            axes.set(xlabel=plot.labels[0], ylabel=plot.labels[1])
            axes.set(xscale=plot.scales[0], yscale=plot.scales[1])
            if plot.ticks:
                axes.set_xticks(plot.ticks, [f"{t:g}" for t in plot.ticks])
                axes.minorticks_off()
            axes.set_title(plot.title, fontsize=9)
            names = [c.name for c in plot.curves]
            if plot is row[0] or (len(names) > 1 and names != [c.name for c in row[0].curves]):
                axes.legend(frameon=False, fontsize=8)
        return png(figure)


def scatter(points: Mapping[str, tuple[float, float]], labels: tuple[str, str]) -> bytes:
    """Named points, each with its name beside it.

    Args:
        points: x and y by name.
        labels: of x and y.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.6), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        for name, (x, y) in points.items():
            axes.plot(x, y, "o", color=OURS, markersize=5)
            axes.annotate(name, (x, y), (5, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.margins(0.15)
        return png(figure)


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """(n, H, W) images as one, row by row, with NaN between them and where none is left."""
    count, height, width = images.shape
    rows = -(-count // columns)
    whole = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), np.nan)
    for k, image in enumerate(images):
        i, j = k // columns * (height + GAP), k % columns * (width + GAP)
        whole[i : i + height, j : j + width] = image
    return whole


def table(images: np.ndarray, labels: Sequence[str], title: str) -> bytes:
    """(rows, columns, H, W) images, each row with its label, in the shades of the first."""
    rows, columns, height, width = images.shape
    low, high = grey_window(images[0])
    whole = grid(images.reshape(rows * columns, height, width), columns)
    across, tall = (round(n * TILE / width) for n in whole.shape[::-1])
    left = LETTER * max(len(line) for label in labels for line in label.splitlines()) + 12
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=((left + across + 5) / DPI, (tall + 30) / DPI), dpi=DPI)
        axes = _axes(figure, left, 5, across, tall)
        axes.imshow(whole, cmap="gray", vmin=low, vmax=high)
        axes.set_yticks([(height + GAP) * i + height / 2 for i in range(rows)], labels)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=9)
        return png(figure)
