"""Intervals held against the truth: how many pixels lie inside, which do not, how wide they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import matplotlib
import numpy as np

from ddgm.pipeline.figures import FAINT, OURS, STYLE, png
from ddgm.pipeline.report.figures import Plot, Series, new_figure, ranges
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import view_of

SLICES = 16  # that are looked at, evenly spaced
DEPTHS = 16  # bands of the thickness, from surface to surface
RANKED = 200_000  # pixels that are ranked
NEEDED = {"low", "high", "truth", "reconstruction"}
SAID = (
    "The truth lies between low and high in {:.1%} of the pixels of all slices, and {:.4g} % were "
    "promised. By quartile of width it does in {}, the narrowest first ({} slices). The rank "
    "correlation of width and error is {:.2f}. A mean width is {:.1f} grey levels; one constant "
    "width, chosen by the truth to hold as much, would be {:.1f}."
)
WHERE = (
    "Where the misses lie: the share of pixels outside their intervals, from one surface of the "
    "slab to the other. Dashed: the share that the calibration allows."
)


@dataclass(frozen=True)
class Coverage:
    """Intervals beside truth, over some slices.

    Attributes:
        inside: share of pixels whose truth lies inside.
        quartiles: the same in each quartile of width, the narrowest first.
        rank: Spearman's correlation of width and |error|.
        width: mean, in grey levels.
        oracle: the constant width about the reconstruction that has as many inside.
        misses: share outside in each band of the thickness.
        slices: how many were looked at.
    """

    inside: float
    quartiles: np.ndarray
    rank: float
    width: float
    oracle: float
    misses: np.ndarray
    slices: int


def coverage(run: RunData) -> Coverage | None:
    """The intervals of some slices; None where they or the truth are not stored."""
    if not set(run.plan.spec.output.layers) >= NEEDED:
        return None
    count = len(run.columns["mse"])
    rows = np.unique(np.linspace(0, count - 1, min(SLICES, count)).round().astype(int))
    views = [
        view.layers for row in rows if (view := view_of(run, int(row))).layers.keys() >= NEEDED
    ]
    if not views:
        return None
    stacks = {name: np.stack([view[name] for view in views]).astype(float) for name in NEEDED}
    return coverage_of(**stacks)


def coverage_of(
    low: np.ndarray, high: np.ndarray, truth: np.ndarray, reconstruction: np.ndarray
) -> Coverage:
    """The intervals of a stack of slices, all (n, thickness, width), in grey levels."""
    inside, width = (low <= truth) & (truth <= high), high - low
    error = np.abs(reconstruction - truth)
    narrow = np.array_split(np.argsort(width, axis=None, kind="stable"), 4)
    step = max(1, -(-width.size // RANKED))
    step += 1 - step % 2  # odd, so that no column is met again and again
    bands = np.array_split(inside, min(DEPTHS, inside.shape[1]), axis=1)
    return Coverage(
        inside=float(inside.mean()),
        quartiles=np.array([inside.ravel()[part].mean() for part in narrow]),
        rank=_rank_correlation(width.ravel()[::step], error.ravel()[::step]),
        width=float(width.mean()),
        oracle=2 * float(np.quantile(error, inside.mean())),
        misses=np.array([1 - band.mean() for band in bands]),
        slices=len(inside),
    )


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, with the mean of their ranks for equal values; 0 where one is constant."""
    ranks = []
    for values in (a, b):
        _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[index])
    if min(rank.std() for rank in ranks) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def words_and_plot(run: RunData) -> tuple[str, Plot] | None:
    """A paragraph on the intervals of a run, and where they miss; None where there are none."""
    if (found := coverage(run)) is None:
        return None
    rate = float(cast(float, run.manifest["intervals"]["rate"]))
    quartiles = ", ".join(f"{share:.1%}" for share in found.quartiles)
    everywhere = float(np.nanmean(run.columns["coverage"]))
    said = SAID.format(
        everywhere, 100 * rate, quartiles, found.slices, found.rank, found.width, found.oracle
    )
    alt = ranges([Series("share outside", "", found.misses)])
    return said, Plot(_misses_picture(found.misses, 1 - rate), WHERE, alt)


def _misses_picture(misses: np.ndarray, allowed: float) -> bytes:
    with matplotlib.rc_context(STYLE):
        figure = new_figure()
        axes = figure.subplots()
        places = (np.arange(len(misses)) + 0.5) / len(misses)
        axes.plot([0, 1], [allowed, allowed], color=FAINT, linestyle="--", linewidth=1)
        axes.plot(places, misses, ".-", color=OURS)
        axes.set(xlim=(0, 1), ylim=(0, None))
        axes.set(xlabel="place along the thickness", ylabel="share outside")
        return png(figure)
