"""Volumes read through cloud-volume: the one border where x, y, z becomes z, y, x.

Every failure becomes a `SourceError`: what was asked for, what went wrong and what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.pipeline.errors import Kind, kind_of
from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.cloudvolume_fixes import cloud_volume

REMEDIES: dict[Kind, str] = {
    "not_found": "give the folder that holds the `info` file, with its protocol, as in "
    "precomputed://https://HOST/VOLUME or precomputed://file:///VOLUME",
    "unreachable": "check the network and the server, then run again",
    "mip": "choose one of these",
    "bounds": "choose a box with at least one voxel, inside the bounds",
    "missing": "restore the chunk, or set `missing` to a grey value to fill with",
    "corrupt": "restore the file from its origin",
    "credentials": "set up cloud-volume's credentials (AWS_SESSION_TOKEN too, if only to ''); a "
    "public bucket needs none as precomputed://https://storage.googleapis.com/BUCKET/VOLUME",
    "unsupported": "install the codec named, or convert the volume to one channel, raw or jpeg",
}


class SourceError(DdgmError):
    """A volume that cannot be read as asked; `kind` says in which way."""

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind: Kind = kind

    @property
    def is_retryable(self) -> bool:
        """True if the same read may succeed later with nothing changed by the user."""
        return self.kind == "unreachable"

    def __reduce__(self) -> tuple[type["SourceError"], tuple[str, Kind]]:
        return SourceError, (str(self), self.kind)  # an exception's own pickle loses the kind


@dataclass(frozen=True)
class VolumeInfo:
    """Metadata of a volume at one mip; triples are in z, y, x order."""

    bounds: Box
    voxel_size_nm: tuple[float, float, float]
    dtype: str
    chunk_shape: Triple
    channels: int
    mip: int


@dataclass(frozen=True)
class Cutout:
    """A box of voxels that was read: `data` is (z, y, x), C-contiguous."""

    data: np.ndarray
    missing_voxels: int  # how many of them the source lacks, and were filled


@dataclass(frozen=True)
class Volume:
    """A volume at one mip. It pickles as its three fields and opens itself where it is used.

    url: handed to cloud-volume untouched.
    missing: the grey value that stands for chunks the source lacks; None makes them an error.
    """

    url: str
    mip: int
    missing: int | None = None

    def __reduce__(self) -> tuple[type["Volume"], tuple[str, int, int | None]]:
        return Volume, (self.url, self.mip, self.missing)

    @cached_property
    def info(self) -> VolumeInfo:
        """Read once. Raises SourceError for a volume that is not there or cannot be used."""
        with self._errors():
            volume = self._volume
            z, y, x = (float(size) for size in volume.resolution[::-1])
            info = VolumeInfo(
                bounds=Box(_zyx(volume.bounds.minpt), _zyx(volume.bounds.maxpt)),
                voxel_size_nm=(z, y, x),
                dtype=np.dtype(volume.dtype).name,
                chunk_shape=_zyx(volume.chunk_size),
                channels=int(volume.num_channels),
                mip=self.mip,
            )
        self._check(info)
        return info

    def read(self, box: Box) -> Cutout:
        """The voxels of `box`, in the volume's dtype. Raises SourceError."""
        bounds = self.info.bounds
        if min(box.shape) < 1 or not box.inside(bounds):
            raise self._error("bounds", f"the volume's bounds are {bounds}", box)
        try:
            return Cutout(self._download(box), 0)
        except SourceError as error:
            if error.kind != "missing" or self.missing is None:
                raise
        return self._read_filled(box)

    def _read_filled(self, box: Box) -> Cutout:
        """Reads chunk by chunk, so that only the chunks that are missing are filled."""
        data = np.full(box.shape, self.missing, dtype=self.info.dtype)
        lost = 0
        for part in box.parts(self.info.bounds.start, self.info.chunk_shape):
            try:
                data[part.slices(box.start)] = self._download(part)
            except SourceError as error:
                if error.kind != "missing":
                    raise
                lost += prod(part.shape)
        return Cutout(data, lost)

    def _download(self, box: Box) -> np.ndarray:
        with self._errors(box):
            from cloudvolume import Bbox

            corners = Bbox(box.start[::-1], box.stop[::-1])
            # With parallel=2 the children's errors are lost and zeros come back (measured).
            xyzc = self._volume.download(corners, mip=self.mip, parallel=1)
        return np.ascontiguousarray(np.asarray(xyzc)[..., 0].T)  # no copy: it is Fortran ordered

    @cached_property
    def _volume(self) -> Any:
        options = {"bounded": True, "fill_missing": False, "parallel": 1, "progress": False}
        # An empty provenance saves a request, and a malformed one would be an error.
        volume: Any = cloud_volume()(self.url, cache=False, provenance={}, **options)
        if self.mip not in range(len(volume.available_mips)):  # to the library -1 is the coarsest
            sizes = [" x ".join(f"{s:g}" for s in r[::-1]) for r in volume.available_resolutions]
            mips = ", ".join(f"mip {mip} ({size} nm)" for mip, size in enumerate(sizes))
            raise self._error("mip", f"the volume has {mips}")
        volume.mip = self.mip
        volume.meta.rois = None  # outside the regions it lists the library returns zeros unasked
        return volume

    def _check(self, info: VolumeInfo) -> None:
        if info.channels != 1:
            raise self._error("unsupported", f"{info.channels} channels where 1 is needed")
        if self.missing is not None and np.dtype(info.dtype).kind in "iu":
            grey = np.iinfo(info.dtype)
            if not grey.min <= self.missing <= grey.max:
                fault = f"missing: {self.missing} is outside {grey.min} to {grey.max}"
                raise self._error("unsupported", fault, remedy=f"set one that fits {info.dtype}")

    @contextmanager
    def _errors(self, box: Box | None = None) -> Iterator[None]:
        """Turns whatever cloud-volume raises into a SourceError."""
        cloud_volume()
        from cloudfiles.interfaces import HttpInterface

        adapter: Any = HttpInterface.adaptor
        adapter.refused = None
        try:
            yield
        except (SourceError, MemoryError):
            raise
        except Exception as error:
            kind, fault = kind_of(error), f"{type(error).__name__}: {error}"
            if kind in ("missing", "not_found") and adapter.refused:
                # The library takes 403 for 404; what is denied must not be filled as if missing.
                kind, fault = "credentials", f"HTTP 403 for {adapter.refused}"
            raise self._error(kind, fault, box) from error

    def _error(
        self, kind: Kind, fault: str, box: Box | None = None, remedy: str = ""
    ) -> SourceError:
        where = f"source {self.url}, mip {self.mip}" + (f", box {box}" if box else "")
        fault = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", fault).split())[:300]
        what = f"{kind.replace('_', ' ')}: {fault}"
        return SourceError(f"{where}: {what}; {remedy or REMEDIES[kind]}", kind)


def _zyx(xyz: Any) -> Triple:
    x, y, z = (int(value) for value in xyz)
    return z, y, x
