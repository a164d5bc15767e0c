"""A measured tilt series, as the solver takes it: aligned, binned, stretched and normalised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from ddgm.core.geometry import reach
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.series.sampling import Grid, covered, sampled
from ddgm.pipeline.volumes.series.stack import Stack, open_stack
from ddgm.pipeline.volumes.series.views import View, read_views
from ddgm.pipeline.volumes.volume import SourceError, VolumeInfo

Signal = Literal["linear", "transmitted"]


@dataclass(frozen=True)
class TiltSeries:
    """A stack of views with the table of what they are.

    It pickles as its fields, and opens its files where it is used. All lengths are in voxels of
    the result, which are as wide as `binning` pixels of the stack; its axes are z (thickness), y
    (along the tilt axis: the aligned rows) and x (the width).

    Attributes:
        tilts: the stack: MRC, or an array (.npy, TIFF, zarr) of axes view, row, column.
        views: the table of its views.
        thickness: of the slab, in voxels.
        voxel_size_nm: of a voxel of the result.
        binning: of the stack.
        signal: what is measured: `linear` in the tissue's density, as a dark field is, or
            `transmitted` intensity, as of a bright field, whose -ln is.
    """

    tilts: str
    views: str
    thickness: int
    voxel_size_nm: float
    binning: int = 1
    signal: Signal = "linear"

    def __reduce__(self) -> tuple[type[TiltSeries], tuple[str, str, int, float, int, Signal]]:
        fields = self.tilts, self.views, self.thickness, self.voxel_size_nm
        return type(self), (*fields, self.binning, self.signal)

    @cached_property
    def stack(self) -> Stack:
        """The stack on the disk."""
        return open_stack(Path(self.tilts))

    @cached_property
    def table(self) -> tuple[View, ...]:
        """All lines of the table of views.

        Raises:
            SourceError: the table is wrong, or of another stack.
        """
        table = read_views(Path(self.views))
        if len(table) != self.stack.shape[0]:
            counts = f"has {len(table)} lines, and {self.tilts} has {self.stack.shape[0]} views"
            remedy = "give one line a view, with use: 0 for those to leave out"
            raise SourceError(f"table of views {self.views}: {counts}; {remedy}", "unsupported")
        return table

    @property
    def used(self) -> tuple[View, ...]:
        """The views that are used, in the stack's order."""
        return tuple(view for view in self.table if view.use)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the aligned, binned views.

        Where the tilt axis lies along the raw rows, the two sides are exchanged.
        """
        _, rows, columns = self.stack.shape
        if is_turned(self.used):
            rows, columns = columns, rows
        return rows // self.binning, columns // self.binning

    @property
    def bins(self) -> int:
        """Samples of a stretched row: the width, and beyond it as far as the slab is projected."""
        angles = tuple(math.radians(view.angle) for view in self.used)
        return self.shape[1] + 2 * reach(self.thickness, angles)

    @cached_property
    def info(self) -> VolumeInfo:
        """Bounds and voxels of the volume that the series is reconstructed to.

        Raises:
            SourceError: a file is not there or wrong.
        """
        rows, columns = self.shape
        if min(rows, columns) < 1:
            size = " x ".join(map(str, self.stack.shape[1:]))
            fault = f"stack {self.tilts}: nothing of {size} pixels is left by binning: "
            raise SourceError(f"{fault}{self.binning}; give a smaller one", "unsupported")
        size = self.voxel_size_nm
        return VolumeInfo(
            bounds=Box((0, 0, 0), (self.thickness, rows, columns)),
            voxel_size_nm=(size, size, size),
            dtype="float32",
            chunk_shape=(self.thickness, 1, columns),
            channels=1,
            mip=0,
            views=tuple((view.angle, view.noise) for view in self.used),
        )

    def read(self, start: int, stop: int) -> np.ndarray:
        """The data of some slices, from the solver's point of view: y of A x = y.

        Interpolated once, from the raw pixels, onto the slab's lateral grid, bins around its
        centre; made (measured - offset) / gain; 0, which is the mean, where a view has no data,
        with a smooth edge.

        Args:
            start, stop: slices along the tilt axis: rows of the aligned, binned views.

        Returns:
            (slices, used views, bins), float32.

        Raises:
            SourceError: a file is not there or wrong, or there are no such slices.
        """
        out = np.empty((stop - start, len(self.used), self.bins), np.float32)
        for place, view in enumerate(self.used):
            grid = self._grid(start, stop, self.bins, view.stretch)
            values, inside = self._sampled(view, grid)
            out[:, place] = np.where(inside > 0, (values - view.offset) / view.gain * inside, 0)
        return out

    def covered(self, start: int, stop: int) -> np.ndarray:
        """True where `read` gives what was measured, not a filling; (slices, views, bins)."""
        size = self.stack.shape[1:]
        grids = [self._grid(start, stop, self.bins, v.stretch) for v in self.used]
        pairs = zip(self.used, grids, strict=True)
        return np.stack([covered(size, view, grid) for view, grid in pairs], axis=1)

    def aligned(self, start: int, stop: int) -> np.ndarray:
        """Rows of the used views, aligned and binned, but as measured and seen perpendicularly.

        Of a transmitted signal, -ln of what was measured.

        Args:
            start, stop: rows of the aligned, binned views.

        Returns:
            (used views, rows, columns), float64; NaN beside a view.

        Raises:
            SourceError: as of `read`.
        """
        grid = self._grid(start, stop, self.shape[1], 1.0)
        seen = (self._sampled(view, grid) for view in self.used)
        return np.stack([np.where(inside < 1, np.nan, values) for values, inside in seen])

    def _grid(self, start: int, stop: int, bins: int, step: float) -> Grid:
        rows = self.shape[0]
        if not 0 <= start < stop <= rows:
            raise SourceError(
                f"stack {self.tilts}: rows {start} to {stop} are not within its {rows} aligned "
                "rows; choose a box inside them",
                "bounds",
            )
        return Grid(rows, start, stop, bins, step, self.binning)

    def _sampled(self, view: View, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        values, inside = sampled(partial(self._measured, view), self.stack.shape[1:], view, grid)
        if not np.isfinite(values).all():
            raise SourceError(
                f"stack {self.tilts}, view {view.view}: pixels that are no numbers; set its `use` "
                f"to 0 in {self.views}, or mend the stack",
                "invalid",
            )
        return values, inside

    def _measured(self, view: View, rows: slice, columns: slice) -> np.ndarray:
        """A part of a raw view; pixels without electrons, dead or of a filled border, as empty."""
        raw = self.stack.part(view.view, rows, columns)
        if self.signal == "linear":
            return raw
        empty = np.full_like(raw, -view.offset)
        return -np.log(raw, out=empty, where=(raw > 0) | np.isnan(raw))


def is_turned(views: tuple[View, ...]) -> bool:
    """True if the tilt axis lies along the raw rows rather than across them."""
    return sum(abs(v.a12) + abs(v.a21) - abs(v.a11) - abs(v.a22) for v in views) > 0
