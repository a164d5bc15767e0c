"""The report's figures: arrays in, PNG bytes out. No window, no pyplot, no state left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddgm.pipeline.figures import DPI, FAINT, INK, OURS, STAGES, STYLE, Panel, grey_window, png


@dataclass(frozen=True)
class Series:
    """A method's values of one metric, by slice."""

    name: str
    colour: str
    values: np.ndarray


def images(layers: Mapping[str, np.ndarray], titles: Mapping[str, str]) -> list[Panel]:
    """The layers that have a title, in the titles' order and all in the last one's shades."""
    shown = [name for name in titles if name in layers]
    window = grey_window(layers[shown[-1]]) if shown else (0.0, 1.0)
    return [Panel(titles[name], layers[name], window) for name in shown]


def differences(
    layers: Mapping[str, np.ndarray], titles: Mapping[str, str], truth: np.ndarray
) -> list[Panel]:
    """Panels of the error of each titled layer, all on the same colour scale."""
    off = {k: np.abs(layers[k].astype(float) - truth) for k in titles if k in layers}
    top = max((float(np.percentile(d, 99.5)) for d in off.values()), default=0.0) or 1.0
    return [Panel(titles[k], d, (0.0, top), "inferno") for k, d in off.items()]


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
            axes.hist(
                s.values, bins, color=s.colour, alpha=0.65, label=s.name, histtype="stepfilled"
            )
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
