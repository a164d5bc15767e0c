"""Volumes read through cloud-volume: the one border where x, y, z becomes z, y, x."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.cloudvolume_fixes import cloud_volume
from ddgm.pipeline.volumes.coordinates import exact
from ddgm.pipeline.volumes.ome_zarr import nanometres
from ddgm.pipeline.volumes.volume import Volume, VolumeInfo


@dataclass(frozen=True)
class CloudVolume(Volume):
    """A volume of any kind that cloud-volume reads, precomputed above all; not zarr."""

    def _read_info(self) -> VolumeInfo:
        volume = self._volume
        z, y, x = (float(size) for size in volume.resolution[::-1])
        return VolumeInfo(
            bounds=Box(_zyx(volume.bounds.minpt), _zyx(volume.bounds.maxpt)),
            voxel_size_nm=(z, y, x),
            dtype=np.dtype(volume.dtype).name,
            chunk_shape=_zyx(volume.chunk_size),
            channels=int(volume.num_channels),
            mip=self.mip,
        )

    def _download(self, box: Box) -> np.ndarray:
        from cloudvolume import Bbox

        corners = Bbox(box.start[::-1], box.stop[::-1])
        # With parallel=2 the children's errors are lost and zeros come back (measured).
        xyzc = self._volume.download(corners, mip=self.mip, parallel=1)
        return np.ascontiguousarray(np.asarray(xyzc)[..., 0].T)  # no copy: it is Fortran ordered

    @cached_property
    def _volume(self) -> Any:
        options = {"bounded": True, "fill_missing": False, "parallel": 1, "progress": False}
        options["lru_encoding"] = "raw"  # decoded chunks, which have the size that is planned
        # An empty provenance saves a request, and a malformed one would be an error.
        volume: Any = cloud_volume()(self.url, cache=False, provenance={}, **options)
        if self.mip not in range(len(volume.available_mips)):  # to the library -1 is the coarsest
            raise self._no_such_mip([size[::-1] for size in volume.available_resolutions])
        volume.mip = self.mip
        volume.image.lru = self.chunks
        volume.meta.rois = None  # outside the regions it lists the library returns zeros unasked
        return volume


@dataclass(frozen=True)
class N5Volume(CloudVolume):
    """An N5 volume of levels s0, s1, ..., in the unit that it says; the library takes nanometres.

    A block that is not stored counts as missing, though N5's writers leave out what is all zero.
    """

    def _read_info(self) -> VolumeInfo:
        try:
            info, root = super()._read_info(), self._volume.meta.attributes["root"]
        except KeyError as error:
            fault = f"its attributes.json has no {error}, so that its voxels have no size"
            remedy = "add pixelResolution and downsamplingFactors, or convert it to OME-Zarr"
            raise self._error("unsupported", fault, remedy=remedy) from error
        unit = root.get("pixelResolution", {}).get("unit", "nm")
        if (factor := nanometres(unit)) is None:
            raise self._error("unsupported", f"sizes in {unit}, no unit of length that is known")
        z, y, x = (float(exact(side) * factor) for side in info.voxel_size_nm)
        return replace(info, voxel_size_nm=(z, y, x))


def _zyx(xyz: Any) -> Triple:
    x, y, z = (int(value) for value in xyz)
    return z, y, x
