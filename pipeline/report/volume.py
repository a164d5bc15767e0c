"""A run as a volume: its scores across slices, its planes, and the joins of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ddgm.core.metrics.volumes import EVERY
from ddgm.pipeline.figures import CLASSICAL, OURS
from ddgm.pipeline.report.figures import Plot, Series, ranges
from ddgm.pipeline.report.gallery import Gallery
from ddgm.pipeline.report.joins import joined_blocks, joins_picture, measured_joins
from ddgm.pipeline.report.planes import LEAST, planes_galleries, planes_through
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import SliceView
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import AXES

NAMES = {
    "ssim_across": "Across the beam, SSIM",
    "ssim_along": "Along the beam, SSIM",
    "neighbours": "Step to the next slice, 1: the truth's",
    "seam_thickness": "Seams at tile borders along the thickness, 1: none",
    "seam_tilt": "Seams at tile borders along the tilt axis, 1: none",
    "joins": "Joins of blocks along the tilt axis, 1: none",
}
COUPLED = (
    "What is made of a slice depends on its neighbours, so each block reconstructed up to {} "
    "slices on either side as well, which were not written."
)
CONTINUED = (
    "The images across the beam are {} slices high in the shortest block, fewer than a patch of "
    "the prior, {}: they were continued by reflection."
)
ABOUT = (
    "SSIM is that of images of the other two planes, one of every {}. A step is the mean "
    "difference from a slice to the next: below 1 the volume is smoother along the tilt axis than "
    "the tissue, above it rougher. The MSE of a volume is the same in all planes."
)
SHORT = f"Blocks of fewer than {LEAST} slices have no SSIM in planes across them."
PLANES = (
    "The planes through {}, the middle of block {}, which holds the slice of median MSE; all in "
    "the same shades of grey. Blue marks: where the other two planes cut{}."
)
JOINS = (
    "Steps about {} of the {} joins of finished blocks, over the truth's mean step beside them. A "
    "join that shows is a peak at 0 which the truth has not."
)


@dataclass(frozen=True)
class VolumeSection:
    """Words, scores and pictures of a run as a volume.

    Attributes:
        text: paragraphs.
        names: of the scores that are there, in words.
        series: values of a score, by method.
        about: the planes, in words.
        planes: a gallery of each.
        plots: of its joins.
    """

    text: list[str]
    names: dict[str, str]
    series: Callable[[str], list[Series]]
    about: str
    planes: list[Gallery]
    plots: list[Plot]


def volume_section(run: RunData, view: SliceView) -> VolumeSection:
    """The section on the run as a volume, its planes through the block of a slice."""
    planes, joins = planes_through(run, view), measured_joins(run)
    about, galleries = "", list[Gallery]()
    plots, at_joins = list[Plot](), list[Series]()
    if planes is not None:
        point = ", ".join(f"{a} = {p}" for a, p in zip(AXES, planes.point, strict=True))
        blocks = "; orange: where blocks join" if planes.joins else ""
        about = PLANES.format(point, planes.block, blocks)
        galleries = planes_galleries(run, planes)
    if joins is not None:
        count = len(joins.steps["truth"])
        caption = JOINS.format(count, len(joined_blocks(run)))
        colours: dict[Layer, str] = {"reconstruction": OURS, "algebraic": CLASSICAL}
        at_joins = [
            Series(run.names[layer], colour, joins.seams(layer))
            for layer, colour in colours.items()
            if layer in joins.steps
        ]
        alt = f"At the joins, over the steps beside them: {ranges(at_joins)}"
        plots.append(Plot(joins_picture(joins, run.names), caption, alt))

    def series(metric: str) -> list[Series]:
        return at_joins if metric == "joins" else run.series(metric)

    names = {metric: name for metric, name in NAMES.items() if series(metric)}
    return VolumeSection(_text(run, names), names, series, about, galleries, plots)


def _text(run: RunData, names: dict[str, str]) -> list[str]:
    text = []
    method = run.plan.spec.method
    if method.couples_slices:
        text.append(COUPLED.format(run.plan.halo))
        slices, patch = run.plan.shortest_stack, run.manifest["weights"]["card"]["patch"]
        across = "across" in method.planes_of_levels
        if across and slices < patch and run.plan.spec.prior.tiling == "tiles":
            text.append(CONTINUED.format(slices, patch))
    if names:
        text.append(ABOUT.format(EVERY))
    if "ssim_across" not in names:
        text.append(SHORT)
    return text
