"""OME-Zarr images, 0.4 and 0.5, as volumes: read with zarr-python, placed by their metadata."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.limits.unpack import TooLargeError
from ddgm.pipeline.volumes.ome_zarr import SPACE, OmeError, OmeLevel, ome_levels
from ddgm.pipeline.volumes.volume import Volume, VolumeInfo


@dataclass(frozen=True)
class ZarrVolume(Volume):
    """One resolution of an OME-Zarr image; its first voxel has the index 0, 0, 0.

    A chunk or shard that is not stored counts as missing, though zarr would fill it.
    """

    def _read_info(self) -> VolumeInfo:
        level, array = self._level, self._array
        if level.voxel_size_nm is None or level.origin_nm is None:
            fault = "its axes have no unit, so that its voxels have no size"
            remedy = "add one, or convert it with ddgm ingest --voxel-size"
            raise self._error("unsupported", fault, remedy=remedy)
        return VolumeInfo(
            bounds=Box((0, 0, 0), self._zyx(array.shape)),
            voxel_size_nm=level.voxel_size_nm,
            dtype=np.dtype(array.dtype).name,
            chunk_shape=self._zyx(array.chunks),
            channels=1,
            mip=self.mip,
            origin_nm=level.origin_nm,
        )

    def _download(self, box: Box) -> np.ndarray:
        parts = dict(zip(SPACE, box.slices(), strict=True))
        kept = [axis for axis in self._level.axes if axis in parts]
        try:
            data = np.asarray(self._array[tuple(parts.get(axis, 0) for axis in self._level.axes)])
        except TooLargeError as error:
            raise TooLargeError(f"{self._first_key(box)}: {error}") from error
        data = data.transpose([kept.index(axis) for axis in SPACE])
        return np.ascontiguousarray(data, data.dtype.newbyteorder("="))

    def _first_key(self, box: Box) -> str:
        """The name, within the image, of the chunk or shard of a box's first voxel."""
        corner = dict(zip(SPACE, box.start, strict=True))
        pieces = self._array.shards or self._array.chunks
        at = (corner.get(a, 0) // n for a, n in zip(self._level.axes, pieces, strict=True))
        return f"{self._level.path}/{self._array.metadata.encode_chunk_key(tuple(at))}"

    @property
    def _stored_shape(self) -> Triple:
        return self._zyx(self._array.shards or self._array.chunks)

    def _zyx(self, lengths: tuple[int, ...]) -> Triple:
        z, y, x = (int(lengths[self._level.axes.index(axis)]) for axis in SPACE)
        return z, y, x

    @cached_property
    def _group(self) -> Any:
        import zarr

        from ddgm.pipeline.volumes.zarr_store import CloudStore

        url, version = cloud_url(self.url)
        node: Any = zarr.open(CloudStore(url, self.chunks), mode="r", zarr_format=version)
        if isinstance(node, zarr.Array):
            raise OmeError("a zarr array outside an OME image; name the group that holds it")
        return node

    @cached_property
    def _level(self) -> OmeLevel:
        levels = ome_levels(dict(self._group.attrs))
        if self.mip not in range(len(levels)):
            raise self._no_such_mip([level.voxel_size_nm or () for level in levels])
        return levels[self.mip]

    @cached_property
    def _array(self) -> Any:
        from ddgm.pipeline.volumes.limits.zarr_codecs import bounded

        array, axes = self._group[self._level.path], self._level.axes
        shape = dict(zip(axes, array.shape, strict=False))
        if len(array.shape) != len(axes) or any(n > 1 for a, n in shape.items() if a not in SPACE):
            sizes = ", ".join(map(str, array.shape))
            fault = f"axes {axes} of lengths {sizes}"
            remedy = "those beside z, y and x must have length 1; save one time and one channel"
            raise self._error("unsupported", fault, remedy=remedy)
        return bounded(array)


def cloud_url(url: str) -> tuple[str, Any]:
    """A zarr source's folder for cloud-files, and its zarr format, 2 or 3, if the URL says it.

    Args:
        url: zarr2://, zarr3:// or zarr:// before, or |zarr2: and the like after, another URL or a
            local path; or just one of these.
    """
    formats = {"zarr2": 2, "zarr3": 3, "zarr": None}
    place, _, after = url.partition("|")
    name, found, rest = place.partition("://")
    if found and name in formats:
        place = rest
    else:
        name = after.strip(":/")
    return place if "://" in place else f"file://{place}", formats.get(name)


def is_zarr(url: str) -> bool:
    """True if a URL or path names zarr, by its scheme or by a folder that ends on .zarr."""
    place, _, after = url.partition("|")
    scheme = place.partition("://")[0]
    if after:
        return after.startswith("zarr")
    if scheme in ("zarr", "zarr2", "zarr3"):
        return True
    formats = ("precomputed", "graphene", "n5", "boss", "nii")
    parts = place.rstrip("/").split("/")
    return scheme not in formats and any(part.endswith((".zarr", ".ome.zarr")) for part in parts)
