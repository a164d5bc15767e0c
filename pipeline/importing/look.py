"""One look at all pixels of a stack: what is wrong with its views, and where its axis lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ddgm.pipeline.importing.text_files import ImportFault
from ddgm.pipeline.volumes.series.sampling import Grid, sampled
from ddgm.pipeline.volumes.series.stack import Stack
from ddgm.pipeline.volumes.series.tilt_series import is_turned
from ddgm.pipeline.volumes.series.views import View

SIDE = 128  # of a thumbnail, at most
AT_ONCE = 2**22  # pixels
PLAIN = 2.0  # times as much change along the axis as across it: it lies elsewhere


@dataclass(frozen=True)
class Looked:
    """A summary of the pixels of the used views.

    Attributes:
        small: thumbnails of all views, (views, rows, columns); NaN where one was not looked at.
        factor: raw pixels to one of theirs.
    """

    small: np.ndarray
    factor: int


def look(
    path: Path, stack: Stack, views: Sequence[View], progress: Callable[[int, int], None]
) -> Looked:
    """Read every used view once, part by part.

    Raises:
        ImportFault: views are constant, or hold what is no number.
    """
    _, rows, columns = stack.shape
    factor = math.ceil(max(rows, columns) / SIDE)
    step = max(1, AT_ONCE // columns // factor) * factor
    small = np.full((len(views), rows // factor, columns // factor), np.nan)
    bad = []
    for place, view in enumerate(views):
        if view.use:
            lows, highs = [], []
            for start in range(0, rows, step):
                part = stack.part(place, slice(start, start + step), slice(None))
                lows.append(part.min())
                highs.append(part.max())
                _shrink(part, factor, small[place, start // factor :])
            low, high = min(lows), max(highs)  # NaN, where there is one, is in the sum
            if not math.isfinite(sum(lows) + sum(highs)) or low == high:
                bad.append(place)
        progress(place + 1, len(views))
    if bad:
        which = ",".join(str(place + 1) for place in bad)
        fault = f"stack {path}: views {which}, counted from 1, are constant or hold NaN"
        raise ImportFault(f"{fault}; leave them out by --exclude {which}")
    return Looked(small, factor)


def _shrink(part: np.ndarray, factor: int, out: np.ndarray) -> None:
    """Means of squares of pixels, as many as are whole."""
    rows, columns = len(part) // factor, out.shape[1]
    whole = part[: rows * factor, : columns * factor]
    out[:rows] = whole.reshape(rows, factor, columns, factor).mean(axis=(1, 3))


def across_over_along(looked: Looked, views: Sequence[View]) -> float:
    """The change of views with tilt across the axis, over that along it.

    All that a slice emits is in a view's row at every tilt, so a profile along the axis changes
    least. Above 1 where the axis is where the views' transforms have it; 1 / x of it at 90 degrees.
    """
    used = [view for view in views if view.use]
    rows, columns = looked.small.shape[1:]
    if is_turned(tuple(used)):
        rows, columns = columns, rows
    grid = Grid(rows, 0, rows, columns, 1.0, 1)
    along, across = [], []
    for view in used:
        raw = partial(_thumbnail, looked.small[view.view])
        moved = replace(view, dx=view.dx / looked.factor, dy=view.dy / looked.factor)
        values, inside = sampled(raw, looked.small.shape[1:], moved, grid)
        values = np.ma.masked_array(values, inside < 1)
        values = (values - values.mean()) / max(float(values.std()), 1e-30)
        along.append(values.mean(axis=1))
        across.append(values.mean(axis=0))
    changes = [np.ma.mean(np.ma.diff(np.ma.stack(p), axis=0) ** 2) for p in (across, along)]
    return float(changes[0] / max(float(changes[1]), 1e-30))


def _thumbnail(small: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    return small[rows, columns]
