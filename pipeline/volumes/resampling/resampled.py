"""A volume whose voxels are brought to another size as they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.coordinates import Point
from ddgm.pipeline.volumes.resampling.grid import Grid
from ddgm.pipeline.volumes.volume import Cutout, SourceError, Volume, VolumeInfo


@dataclass(frozen=True)
class ResampledVolume:
    """A volume on a grid of voxels of another size, in a volume's place.

    Voxels keep their type; grey levels of whole numbers are rounded. What the source lacks, or what
    is no number, is filled before it is resampled, and counted in the source's own voxels.

    Attributes:
        source: the volume as it is stored.
        size_nm: of a new voxel, (z, y, x), in nanometres.
    """

    source: Volume
    size_nm: Point

    @cached_property
    def info(self) -> VolumeInfo:
        """Metadata of the volume on the new grid.

        Raises:
            SourceError: it is not there or cannot be used.
        """
        stored, grids = self.source.info, self._grids
        bounds = [grid.bounds for grid in grids]
        chunk = zip(stored.chunk_shape, grids, strict=True)
        return replace(
            stored,
            bounds=Box(_triple(a for a, _ in bounds), _triple(b for _, b in bounds)),
            voxel_size_nm=self.size_nm,
            chunk_shape=_triple(max(1, round(n / grid.ratio)) for n, grid in chunk),
            stored_size_nm=stored.voxel_size_nm,
        )

    @property
    def chunks(self) -> Any:
        """The source's chunks that were read last; see `Volume`."""
        return self.source.chunks

    def read(self, box: Box) -> Cutout:
        """The voxels of a box of the new grid, in the volume's dtype.

        Raises:
            SourceError: they cannot be read, or the box leaves the volume.
        """
        if min(box.shape) < 1 or not box.inside(self.info.bounds):
            raise SourceError(f"{self.source.url}: {box} is not in {self.info.bounds}", "bounds")
        spans = list(zip(box.start, box.stop, strict=True))
        needed = [grid.needed(*span) for grid, span in zip(self._grids, spans, strict=True)]
        stored = Box(_triple(a for a, _ in needed), _triple(b for _, b in needed))
        cutout = self.source.read(stored)
        data = cutout.data.astype(_working_type(cutout.data.dtype))
        # the coarsest first, after which there is less to do
        for axis in sorted(range(3), key=lambda axis: -self._grids[axis].ratio):
            if self._grids[axis].ratio != 1:
                data = self._grids[axis].resample(data, axis, *spans[axis])
        if cutout.data.dtype.kind in "iu":
            np.rint(data, out=data)
        return Cutout(np.ascontiguousarray(data, cutout.data.dtype), cutout.missing_voxels)

    @cached_property
    def _grids(self) -> tuple[Grid, Grid, Grid]:
        stored = self.source.info
        sizes = zip(self.size_nm, stored.voxel_size_nm, strict=True)
        spans = zip(stored.bounds.start, stored.bounds.stop, strict=True)
        z, y, x = (Grid.of(*size, *span) for size, span in zip(sizes, spans, strict=True))
        return z, y, x


def _working_type(dtype: np.dtype) -> type[np.floating]:
    """The type to compute in, which holds all grey levels: float32 where that is enough."""
    return np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64


def _triple(values: Iterable[int]) -> Triple:
    z, y, x = values
    return z, y, x
