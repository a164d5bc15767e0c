"""Pictures of a prior: its samples, and curves; arrays in, PNG bytes out, as in `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ddgm_core.realism import Distance, Realism, gradient_magnitude, radial_power
from pipeline.figures import DPI, INK, OURS, ROOM, STYLE, Panel, grey_window, png, stack

GAP = 4  # pixels between the images of a grid
COLUMNS = 8
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
    scale = TILE / width / DPI
    with matplotlib.rc_context(STYLE):
        size = whole.shape[1] * scale + 1.7, whole.shape[0] * scale + 0.35
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(whole, cmap="gray", vmin=low, vmax=high)
        axes.set_yticks([(height + GAP) * i + height / 2 for i in range(rows)], labels)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=9)
        return png(figure)


def samples(generated: np.ndarray, real: np.ndarray | None, pixel_nm: float, note: str) -> bytes:
    """Generated images above real ones, as many and in the same shades (the paper's Fig. 2).

    Args:
        generated: (n, H, W); as many of them are shown as fit.
        real: (at least n, H, W), or None: the generated ones alone.
        pixel_nm: side of a pixel.
        note: for the foot of the figure.
    """
    count, height, width = generated.shape
    columns = min(count, COLUMNS, max(1, ROOM[0] // (width + GAP)))
    shown = min(count, columns * max(1, ROOM[1] // 2 // (height + GAP)))
    window = grey_window(generated if real is None else real)
    part = "" if shown == count else f" ({shown} of {count})"
    panels = [Panel(f"Generated{part}", grid(generated[:shown], columns), window)]
    if real is not None:
        panels.append(Panel("Real", grid(real[:shown], columns), window))
    return stack(panels, panels[0].image.shape[1], pixel_nm, note)


def realism(generated: np.ndarray, real: np.ndarray, scores: Realism) -> bytes:
    """The three statistics of generated and real patches, (n, side, side), normalised."""
    groups = (("real", INK, real), ("generated", OURS, generated))
    side = real.shape[-1]
    frequency = np.arange(1, side // 2 + 1) / side
    spectra = [Curve(n, c, frequency, radial_power(x).mean(axis=0)) for n, c, x in groups]
    intensity = _densities(groups)
    gradient = _densities([(n, c, gradient_magnitude(x)) for n, c, x in groups])
    power, value = ("cycles per pixel", "power"), ("intensity, normalised", "density")
    slope = ("gradient, normalised per pixel", "density")
    return plots(
        [
            Plot(_title("Power spectrum", scores.spectrum), power, spectra, ("log", "log")),
            Plot(_title("Intensity", scores.intensity), value, intensity),
            Plot(_title("Gradient", scores.gradient), slope, gradient),
        ]
    )


def _title(name: str, distance: Distance) -> str:
    return f"{name}: {distance.generated:.3g} from real\n(real from real: {distance.real:.3g})"


def _densities(groups: Sequence[tuple[str, str, np.ndarray]]) -> list[Curve]:
    """Histograms over one range: all but the outermost thousandths of the first group."""
    from scipy.ndimage import gaussian_filter1d

    low, high = np.percentile(groups[0][2], (0.1, 99.9)).tolist()
    edges = np.linspace(low, max(high, low + 0.01), 401)
    middle, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    # smoothed by 2 % of the range: real values are whole grey levels, which beat with the bins
    return [
        Curve(n, c, middle, gaussian_filter1d(np.histogram(v, edges)[0] / (v.size * width), 8.0))
        for n, c, v in groups
    ]
