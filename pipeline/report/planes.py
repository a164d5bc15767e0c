"""The three orthogonal planes through a point of a run, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddgm.pipeline.figures import CLASSICAL, DPI, INK, OURS, STYLE, grey_window, png, scale_bar
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import SliceView
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.model import Layer
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


def planes_picture(run: RunData, planes: Planes) -> bytes:
    """The planes one below the other, a column for each layer, all on one scale."""
    sides = [run.plan.info.voxel_size_nm[axis] for axis in run.plan.axes]
    last = list(planes.images.values())[min(1, len(planes.images) - 1)]  # the truth where it is
    window = grey_window(last[0])
    dots = 2 / min(sides)  # per nanometre
    sizes = [
        (round(i.shape[0] * sides[rows] * dots), round(i.shape[1] * sides[columns] * dots))
        for i, (rows, columns) in zip(last, PLANES, strict=True)
    ]
    left, gap, top, head, foot = 20, 24, 40, 34, 60
    column = max(wide for _, wide in sizes)
    width = max(left + len(planes.images) * (column + gap), 520)
    height = top + sum(head + high + gap for high, _ in sizes) + foot
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        for j, (layer, images) in enumerate(planes.images.items()):
            y, x = height - top, left + j * (column + gap)
            figure.text(x / width, (y + 12) / height, run.names[layer], fontsize=16)
            for image, plane, (high, wide) in zip(images, PLANES, sizes, strict=True):
                if j == 0:
                    figure.text(x / width, (y - 24) / height, _name(run, plane), fontsize=13)
                y -= head + high
                axes = figure.add_axes((x / width, y / height, wide / width, high / height))
                axes.imshow(
                    image, "gray", vmin=window[0], vmax=window[1], aspect="auto",
                    interpolation="nearest", extent=(0, image.shape[1], image.shape[0], 0),
                )  # fmt: skip
                axes.axis("off")
                _mark(axes, run, planes, plane)
                y -= gap
        _bar(figure, column / dots, dots, left)
        return png(figure)


def _name(run: RunData, plane: tuple[int, int]) -> str:
    rows, columns = (AXES[run.plan.axes[k]] for k in plane)
    return f"{PLANES[plane]}: {rows} down, {columns} right"


def _mark(axes: Axes, run: RunData, planes: Planes, plane: tuple[int, int]) -> None:
    """Ticks where the other two planes cut this one, and where blocks join."""
    rows, columns = (run.plan.axes[k] for k in plane)
    at = [planes.point[k] - planes.box.start[k] + 0.5 for k in (rows, columns)]
    _ticks(axes, at[:1], at[1:], OURS)
    tilt = run.plan.axes[0]
    _ticks(axes, planes.joins * (rows == tilt), planes.joins * (columns == tilt), CLASSICAL)


def _ticks(axes: Axes, down: Sequence[float], right: Sequence[float], colour: str) -> None:
    """Short lines outside the left and the lower edge."""
    options = {"color": colour, "linewidth": 3.0, "clip_on": False, "solid_capstyle": "butt"}
    wide, high = axes.bbox.width, axes.bbox.height
    for place in down:
        axes.plot(
            [-14 / wide, -4 / wide], [place] * 2, transform=axes.get_yaxis_transform(), **options
        )  # type: ignore[arg-type]
    for place in right:
        axes.plot(
            [place] * 2, [-14 / high, -4 / high], transform=axes.get_xaxis_transform(), **options
        )  # type: ignore[arg-type]


def _bar(figure: Figure, width_nm: float, dots: float, left: int) -> None:
    """A scale bar at the foot, for all pictures."""
    across, high = figure.get_size_inches() * DPI
    nm, text = scale_bar(width_nm)
    axes = figure.add_axes((0, 0, 1, 50 / high))
    axes.set(xlim=(0, across), ylim=(0, 50))
    axes.axis("off")
    axes.plot([left, left + nm * dots], [26, 26], color=INK, linewidth=5, solid_capstyle="butt")
    axes.text(left + nm * dots + 12, 26, text, va="center", fontsize=14)
