"""The report's figures: arrays in, PNG bytes out. No window, no pyplot, no state left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddgm.pipeline.figures import DPI, FAINT, INK, OURS, STYLE, png


@dataclass(frozen=True)
class Series:
    """A method's values of one metric, by slice."""

    name: str
    colour: str
    values: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        """Those of its values that are numbers."""
        return self.values[np.isfinite(self.values)]


@dataclass(frozen=True)
class Plot:
    """A figure with its caption, and in words what it shows."""

    png: bytes
    caption: str
    alt: str


def ranges(series: Sequence[Series]) -> str:
    """From where to where the values of each method go."""
    found = [(s.name, s.finite) for s in series if len(s.finite)]
    return "; ".join(f"{name}: {v.min():.4g} to {v.max():.4g}" for name, v in found)


def histogram(series: Sequence[Series], label: str, mark: bool = False) -> bytes:
    """Histogram over slices of a metric, with a line at 1 (the noise) if wanted."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure()
        _histogram(figure.subplots(), series, label, mark=1.0 if mark else None)
        return png(figure)


def new_figure() -> Figure:
    """A figure of the page: two stand side by side, or one fills a small screen."""
    return Figure(figsize=(5.2, 2.8), dpi=2 * DPI, layout="constrained")


def _histogram(axes: Axes, series: Sequence[Series], label: str, mark: float | None = None) -> None:
    values = np.concatenate([s.finite for s in series])
    span = np.append(values, [] if mark is None else mark)
    if len(span):
        bins = np.linspace(span.min(), span.max(), 41) if np.ptp(span) > 0 else 10
        for s in series:
            axes.hist(
                s.finite, bins, color=s.colour, alpha=0.65, label=s.name, histtype="stepfilled"
            )
            if len(s.finite):
                axes.axvline(float(s.finite.mean()), color=s.colour, linestyle="--", linewidth=1.2)
    if mark is not None:
        axes.axvline(mark, color=INK, linewidth=1.2)
        axes.annotate(" noise", (mark, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
    axes.set_xlabel(label)
    axes.set_ylabel("slices")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)


def positions(
    where: np.ndarray, slabs: np.ndarray, series: Sequence[Series], axis: str, score: str = "MSE"
) -> bytes:
    """A score along the tilt axis, one line a slab, broken where slices are not done.

    Args:
        where: each slice's voxel along the tilt axis.
        slabs: each slice's slab.
        series: the score by method.
        axis: the tilt axis' name.
        score: in words.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure()
        axes = figure.subplots()
        several = len(np.unique(slabs)) > 1
        for s in series:
            for slab in np.unique(slabs):
                x, y = _with_gaps(where[slabs == slab], s.values[slabs == slab])
                # a slice between two gaps is no line: the dots show it
                axes.plot(x, y, ".-", color=s.colour, linewidth=1, ms=2.5, alpha=1 - 0.4 * several)
            axes.plot([], [], color=s.colour, label=s.name)
        axes.set(xlabel=f"slice: voxel along {axis}", ylabel=score, ylim=(0, None))
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
        figure = new_figure()
        axes = figure.subplots()
        top = 1.05 * max(float(predicted.max()), float(found.max()))
        axes.plot([0, top], [0, top], color=FAINT, linestyle="--", linewidth=1)
        axes.plot(predicted, found, ".-", color=OURS)
        axes.set(xlim=(0, top), ylim=(0, top))
        axes.set(xlabel="spread of the chains, grey levels", ylabel="error (RMS), grey levels")
        return png(figure)
