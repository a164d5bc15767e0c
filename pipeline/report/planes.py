"""The three orthogonal planes through a point of a run, as pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddgm.pipeline.figures import Panel, grey_window
from ddgm.pipeline.report.gallery import Gallery, Mark, Picture, Side
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import SliceView
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import AXES
from ddgm.pipeline.volumes.box import Box, Triple

SIDE = 256  # pixels along a side of a picture, of the shortest side of a voxel
LEAST = 11  # slices below which there is nothing to see in the planes across them

# planes as (rows, columns) of a stack (slice, thickness, width), and what they are called
PLANES = {
    (1, 2): "Slice",
    (0, 2): "Across the beam",
    (1, 0): "Along the beam",
}


@dataclass(frozen=True)
class Planes:
    """Three planes of each layer through one point.

    Attributes:
        block: in whose middle the point lies.
        point: its voxel (z, y, x).
        box: what is shown about it.
        joins: slices of the box at which a block begins, but for its first.
        images: of each layer, in the order of `PLANES`.
    """

    block: int
    point: Triple
    box: Box
    joins: tuple[int, ...]
    images: dict[Layer, list[np.ndarray]]


def planes_through(run: RunData, view: SliceView) -> Planes | None:
    """The planes through the middle of the block of a slice; None of too few finished slices."""
    plan, index = run.plan, int(run.columns["block"][view.row])
    block, tilt = plan.block(index), plan.axes[0]
    first, last = _finished_about(run, index)
    whole = plan.block(first).box
    whole = whole.between(tilt, whole.start[tilt], plan.block(last).box.stop[tilt])
    ends = zip(block.box.start, block.box.stop, strict=True)
    z, y, x = ((a + b) // 2 for a, b in ends)
    box = _window(whole, (z, y, x), plan.info.voxel_size_nm)
    if box.shape[tilt] < LEAST:
        return None
    starts = (plan.block(i).box.start[tilt] - box.start[tilt] for i in range(first + 1, last + 1))
    joins = tuple(start for start in starts if 0 < start < box.shape[tilt])
    images = {}
    for layer in run.names:
        if found := _images(run, layer, box, (z, y, x)):
            images[layer] = found
    return Planes(index, (z, y, x), box, joins, images) if images else None


def _finished_about(run: RunData, index: int) -> tuple[int, int]:
    """The first and the last of the finished blocks that follow one another about one."""
    done = set(np.unique(run.columns["block"].astype(int)).tolist())
    per_slab = run.plan.blocks_per_slab
    first = last = index
    while first % per_slab and first - 1 in done:
        first -= 1
    while (last + 1) % per_slab and last + 1 in done:
        last += 1
    return first, last


def _window(whole: Box, point: Triple, sides_nm: tuple[float, float, float]) -> Box:
    """A cube about a point, or what a box has of it."""
    window = whole
    for axis, side in enumerate(sides_nm):
        wanted = max(LEAST, round(SIDE * min(sides_nm) / side))
        start = max(whole.start[axis], point[axis] - wanted // 2)
        window = window.between(axis, start, min(whole.stop[axis], start + wanted))
    return window


def _images(run: RunData, layer: Layer, box: Box, point: Triple) -> list[np.ndarray] | None:
    """The planes of a layer; None where it cannot be read, or is not there."""
    plan, images = run.plan, []
    try:
        with run.store.folder.store_errors():
            array = run.store.arrays.array(layer)
            for rows, columns in PLANES:
                left = plan.axes[3 - rows - columns]
                cut = box.between(left, point[left], point[left] + 1)
                data = np.asarray(array[cut.slices(plan.region.start)])
                stack = layout_of(plan, layer).stack(data)
                images.append(stack.transpose(rows, columns, 3 - rows - columns)[..., 0])
    except (ValueError, RuntimeError, OSError):  # what slices are shown says so
        return None
    return images if all(image.any() for image in images) else None


def planes_galleries(run: RunData, planes: Planes) -> list[Gallery]:
    """A gallery for each plane: all layers in the same shades of grey."""
    last = list(planes.images.values())[min(1, len(planes.images) - 1)]  # the truth where it is
    window = grey_window(last[0])
    galleries = []
    for i, (rows, columns) in enumerate(PLANES):
        down, right = run.plan.axes[rows], run.plan.axes[columns]
        pictures = [
            Picture(
                Panel(run.names[layer], images[i], window), marks=_marks(run, planes, down, right)
            )
            for layer, images in planes.images.items()
        ]
        caption = f"{PLANES[rows, columns]}: {AXES[down]} down, {AXES[right]} right."
        sides = run.plan.info.voxel_size_nm
        galleries.append(Gallery(pictures, caption, (sides[down], sides[right])))
    return galleries


def _marks(run: RunData, planes: Planes, down: int, right: int) -> list[Mark]:
    """Where the other two planes cut one, and where blocks join."""
    sides: dict[Side, int] = {"top": down, "left": right}
    marks = list[Mark]()
    for side, axis in sides.items():
        length = planes.box.shape[axis]
        point = planes.point[axis] - planes.box.start[axis] + 0.5
        marks.append(Mark("point", side, point / length))
        if axis == run.plan.axes[0]:
            marks += [Mark("join", side, join / length) for join in planes.joins]
    return marks
