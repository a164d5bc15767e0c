"""The report's part on what can be trusted: how far chains agree, and what was measured."""

from __future__ import annotations

from pipeline import figures
from pipeline.calibration import calibration
from pipeline.findings import Run
from pipeline.method import Ddgm, Ddx
from pipeline.views import View, trust_picture

AGREE = (
    "The reconstruction is the mean of {} chains, each with noise of its own. Where they differ, "
    "the data leave it open and the prior has filled it, each time otherwise. Where they agree "
    "they can still all be wrong."
)
MEASURED = (
    "The measured share says how much of a slice lies in directions that the tilts see above "
    "their noise; the rest is what the prior holds likely."
)
CALIBRATED = (
    "Error against spread, in {} groups of pixels of {} slices. On the dashed line the spread is "
    "the error that one has to reckon with; above it the chains are too sure of themselves. Over "
    "all pixels the error is {:.2f} times the spread."
)


def trust(run: Run, view: View) -> tuple[list[str], list[tuple[bytes, str]]]:
    """Paragraphs and figures with captions; none where neither layer is stored."""
    picture = trust_picture(run, view)
    if picture is None:
        return [], []
    method, layers = run.plan.spec.method, run.plan.spec.output.layers
    text, shown = [], [(picture, "Of the slice of median MSE.")]
    if "spread" in layers and isinstance(method, Ddgm | Ddx):
        text.append(AGREE.format(method.samples))
    if "measured" in layers:
        text.append(MEASURED)
    if found := calibration(run):
        caption = CALIBRATED.format(len(found.found), found.slices, found.ratio)
        shown.append((figures.calibration(found.predicted, found.found), caption))
    return text, shown
