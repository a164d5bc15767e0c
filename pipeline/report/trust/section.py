"""Calibration: does the spread of a run's chains predict the error of its slices?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddgm.pipeline.report import figures
from ddgm.pipeline.report.figures import Plot, Series
from ddgm.pipeline.report.gallery import Gallery
from ddgm.pipeline.report.pictures import trust
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import SliceView, view_of
from ddgm.pipeline.report.trust.intervals import words_and_plot
from ddgm.pipeline.spec.output import ERRORS

SLICES = 8  # that are looked at, evenly spaced: 200,000 pixels each at 128 × 1568
GROUPS = 10  # of as many pixels each
NEEDED = {"spread", "truth", "reconstruction"}


@dataclass(frozen=True)
class Calibration:
    """Groups of pixels of like spread.

    Attributes:
        predicted: each group's root mean square spread of the chains, in grey levels.
        found: its root mean square error of the chains' mean, in grey levels.
        slices: how many were looked at.
    """

    predicted: np.ndarray
    found: np.ndarray
    slices: int

    @property
    def ratio(self) -> float:
        """Error over spread, both as root mean squares over all pixels."""
        return float(np.sqrt((self.found**2).mean() / max((self.predicted**2).mean(), 1e-12)))


def calibration(run: RunData) -> Calibration | None:
    """Spread beside true error, over some slices; None where either is not stored."""
    if not set(run.plan.spec.output.layers) >= NEEDED:
        return None
    count = len(run.columns["mse"])
    rows = np.unique(np.linspace(0, count - 1, min(SLICES, count)).round().astype(int))
    views = [view_of(run, int(row)).layers for row in rows]
    views = [v for v in views if v.keys() >= NEEDED]
    if not views:
        return None
    spread = np.concatenate([v["spread"].ravel().astype(float) for v in views])
    error = np.concatenate(
        [(v["reconstruction"].astype(float) - v["truth"]).ravel() for v in views]
    )
    groups = np.array_split(np.argsort(spread, kind="stable"), GROUPS)
    predicted, found = (
        np.array([np.sqrt((values[g] ** 2).mean()) for g in groups]) for values in (spread, error)
    )
    return Calibration(predicted, found, len(views))


AGREE = (
    "The reconstruction is the mean of {} chains, each with noise of its own. Where they differ, "
    "the data leave it open and the prior has filled it, each time otherwise. Where they agree "
    "they can still all be wrong."
)
MEASURED = (
    "The measured share says how much of a slice lies in directions that the tilts see above "
    "their noise; the rest is what the prior holds likely."
)
SPLIT = (
    "The error falls into two parts: what contradicts the measured directions, and what is "
    "invented, or left out, in directions that the tilts do not see above their noise."
)
CALIBRATED = (
    "Error against spread, in {} groups of pixels of {} slices. On the dashed line the spread is "
    "the error that one has to reckon with; above it the chains are too sure of themselves. Over "
    "all pixels the error is {:.2f} times the spread."
)


@dataclass(frozen=True)
class TrustSection:
    """Words and pictures on what can be trusted."""

    text: list[str]
    gallery: Gallery
    plots: list[Plot]


def trust_section(run: RunData, view: SliceView) -> TrustSection | None:
    """The section on what can be trusted; None where none of its layers is stored."""
    gallery = trust(run, view)
    if gallery is None:
        return None
    layers, text, plots = run.plan.spec.output.layers, list[str](), list[Plot]()
    if "spread" in layers:
        text.append(AGREE.format(run.plan.spec.method.chains))
    if "measured" in layers:
        text.append(MEASURED)
    if set(ERRORS) & set(layers):
        text.append(SPLIT)
    if held := words_and_plot(run):
        text.append(held[0])
        plots.append(held[1])
    if found := calibration(run):
        caption = CALIBRATED.format(len(found.found), found.slices, found.ratio)
        picture = figures.calibration(found.predicted, found.found)
        named = ("spread", found.predicted), ("error", found.found)
        alt = figures.ranges([Series(name, "", values) for name, values in named])
        plots.append(Plot(picture, caption, alt))
    return TrustSection(text, gallery, plots)
