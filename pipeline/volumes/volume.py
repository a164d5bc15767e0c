"""The interface of every source of voxels: its info, boxes of its voxels, and one error.

Every failure becomes a `SourceError`: what was asked for, what went wrong and what to do."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ddgm.core.errors import DdgmError, Failure
from ddgm.pipeline.errors import Kind, kind_of
from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.cloudvolume_fixes import INFO_BYTES, LIMITS, cloud_volume
from ddgm.pipeline.volumes.limits.chunk_cache import chunk_cache

REMEDIES: dict[Kind, str] = {
    "not_found": "give the OME-Zarr image, or the folder that holds the `info` file, with its "
    "protocol, as in precomputed://https://HOST/VOLUME or precomputed://file:///VOLUME",
    "unreachable": "check the network and the server, then run again",
    "mip": "choose one of these",
    "bounds": "choose a box with at least one voxel, inside the bounds",
    "missing": "restore the chunk, or set `missing` to a grey value to fill with",
    "corrupt": "restore the file from its origin",
    "invalid": "mend the volume, or, in a run, set `source.invalid` to a grey value to put there",
    "library": "the file may well be whole: convert the volume, or report this with its address",
    "credentials": "set up cloud-volume's credentials (AWS_SESSION_TOKEN too, if only to ''); a "
    "public bucket needs none as precomputed://https://storage.googleapis.com/BUCKET/VOLUME",
    "unsupported": "install what is named, or convert the volume, as with ddgm ingest",
}


class SourceError(DdgmError):
    """A volume that cannot be read as asked; `kind` says in which way."""

    def __init__(self, message: str, kind: Kind) -> None:
        failure: Failure = "unreachable" if kind == "unreachable" else "mistake"
        super().__init__(message, failure)
        self.kind: Kind = kind

    @property
    def is_retryable(self) -> bool:
        """True if the same read may succeed later with nothing changed by the user."""
        return self.kind == "unreachable"

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, Kind]]:
        return SourceError, (str(self), self.kind)  # an exception's own pickle loses the kind


@dataclass(frozen=True)
class VolumeInfo:
    """Metadata of a volume at one mip, or as it is resampled; triples are in z, y, x order.

    A measured tilt series has the info of the volume that it is reconstructed to: the bounds are
    the slab's (thickness along z, tilt axis along y, width along x), `dtype` is float32.

    Attributes:
        views: of a measured tilt series: (angle in degrees, noise) of each view that is used, in
            the order of the stack; noise is a standard deviation in the units of `tilts.noise`.
    """

    bounds: Box
    voxel_size_nm: tuple[float, float, float]
    dtype: str
    chunk_shape: Triple
    channels: int
    mip: int
    origin_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the corner of voxel 0, 0, 0
    stored_size_nm: tuple[float, float, float] | None = None  # of the source's, if resampled
    views: tuple[tuple[float, float], ...] | None = None

    @property
    def stored_voxels(self) -> float:
        """The source's own voxels in a voxel: 1 unless they are resampled."""
        return prod(self.voxel_size_nm) / prod(self.stored_size_nm or self.voxel_size_nm)

    def fields(self) -> dict[str, Any]:
        """All of it by name, as `of` takes it; without a stored size or views where it has none."""
        found = asdict(self)
        for name in ("stored_size_nm", "views"):  # none of which there was at first
            if found[name] is None:
                del found[name]
        return found

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> VolumeInfo:
        """Make one of its fields as JSON holds them, where triples are lists."""
        triples: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        if triples.get("views") is not None:
            triples["views"] = tuple(tuple(view) for view in triples["views"])
        corners = triples.pop("bounds")
        return cls(bounds=Box(tuple(corners["start"]), tuple(corners["stop"])), **triples)


@dataclass(frozen=True)
class Cutout:
    """A box of voxels that was read: `data` is (z, y, x), C-contiguous."""

    data: np.ndarray
    missing_voxels: int  # how many of them the source lacks, and were filled


@dataclass(frozen=True)
class Volume(ABC):
    """A volume at one mip. It pickles as its fields and opens itself where it is used.

    Attributes:
        url: as the user gave it.
        mip: level of resolution.
        missing: grey value that stands for chunks the source lacks; None makes them an error.
        invalid: grey value that stands for voxels that are NaN or infinite; None: an error.
    """

    url: str
    mip: int = 0
    missing: int | None = None
    invalid: float | None = None

    def __reduce__(self) -> tuple[type[Volume], tuple[str, int, int | None, float | None]]:
        return type(self), (self.url, self.mip, self.missing, self.invalid)

    @cached_property
    def info(self) -> VolumeInfo:
        """Metadata of the volume, read once.

        Raises:
            SourceError: it is not there or cannot be used.
        """
        with self._errors():
            info = self._read_info()
        self._check(info)
        return info

    def read(self, box: Box) -> Cutout:
        """The voxels of `box`, in the volume's dtype.

        Raises:
            SourceError: they cannot be read, or are no numbers.
        """
        bounds = self.info.bounds
        if min(box.shape) < 1 or not box.inside(bounds):
            raise self._error("bounds", f"the volume's bounds are {bounds}", box)
        cutout = self._read_or_fill(box)
        if cutout.data.dtype.kind == "f":
            self._mend_or_refuse(cutout.data, box)
        return cutout

    @cached_property
    def chunks(self) -> Any:
        """The chunks that were read last, kept for reads to come; see `chunk_cache`."""
        return chunk_cache()

    @abstractmethod
    def _read_info(self) -> VolumeInfo:
        """The volume's info; any error is turned into a SourceError."""

    @abstractmethod
    def _download(self, box: Box) -> np.ndarray:
        """The voxels of `box`, (z, y, x), C-contiguous; any error is turned into a SourceError."""

    @property
    def _stored_shape(self) -> Triple:
        """The shape, (z, y, x), of what is stored, or missing, in one piece."""
        return self.info.chunk_shape

    def _read_or_fill(self, box: Box) -> Cutout:
        try:
            with self._errors(box):
                return Cutout(self._download(box), 0)
        except SourceError as error:
            if error.kind == "corrupt":
                self._find_corrupt(box)
            if error.kind != "missing" or self.missing is None:
                raise
        return self._read_filled(box)

    def _find_corrupt(self, box: Box) -> None:
        """Raise the error of the first piece of a box that cannot be read: it names the place."""
        for part in box.parts(self.info.bounds.start, self._stored_shape):
            if part == box:
                return
            with self._errors(part):
                self._download(part)

    def _read_filled(self, box: Box) -> Cutout:
        """Reads piece by piece, so that only those that are missing are filled."""
        data = np.full(box.shape, self.missing, dtype=self.info.dtype)
        lost = 0
        for part in box.parts(self.info.bounds.start, self._stored_shape):
            try:
                with self._errors(part):
                    data[part.slices(box.start)] = self._download(part)
            except SourceError as error:
                if error.kind != "missing":
                    raise
                lost += prod(part.shape)
        return Cutout(data, lost)

    def _mend_or_refuse(self, data: np.ndarray, box: Box) -> None:
        """Put `invalid` in place of what is no number, or raise."""
        bad = ~np.isfinite(data)
        count = int(bad.sum())
        if count == 0:
            return
        if self.invalid is None:
            first = np.unravel_index(int(bad.argmax()), data.shape)
            at = ", ".join(
                f"{a} {o + int(i)}" for a, o, i in zip("zyx", box.start, first, strict=True)
            )
            of = f"{count} of {data.size} voxels are NaN or infinite, the first at {at}"
            raise self._error("invalid", of, box)
        data[bad] = self.invalid

    def _stored_bytes(self, box: Box) -> int:
        """Bytes of all stored pieces that a box touches, decoded: some may come in one answer."""
        origin, piece = self.info.bounds.start, self._stored_shape
        ranges = zip(box.start, box.stop, origin, piece, strict=True)
        voxels = prod((-((o - b) // n) - (a - o) // n) * n for a, b, o, n in ranges)
        return voxels * np.dtype(self.info.dtype).itemsize

    def _check(self, info: VolumeInfo) -> None:
        if info.channels != 1:
            raise self._error("unsupported", f"{info.channels} channels where 1 is needed")
        if min(info.voxel_size_nm) <= 0:
            sizes = " x ".join(f"{s:g}" for s in info.voxel_size_nm)
            fault = f"voxels of {sizes} nm, which have no volume"
            raise self._error("unsupported", fault, remedy="correct its sizes")
        if np.dtype(info.dtype).kind not in "iuf":
            raise self._error(
                "unsupported", f"voxels of type {info.dtype}, which are no grey levels"
            )
        if self.missing is not None and np.dtype(info.dtype).kind in "iu":
            grey = np.iinfo(info.dtype)
            if not grey.min <= self.missing <= grey.max:
                fault = f"missing: {self.missing} is outside {grey.min} to {grey.max}"
                raise self._error("unsupported", fault, remedy=f"set one that fits {info.dtype}")

    def _no_such_mip(self, sizes_nm: Sequence[Sequence[float]]) -> SourceError:
        """The error that lists the mips that there are, by their voxel sizes, (z, y, x)."""
        sizes = [" x ".join(f"{s:g}" for s in size) for size in sizes_nm]
        mips = ", ".join(f"mip {mip} ({size} nm)" for mip, size in enumerate(sizes))
        return self._error("mip", f"the volume has {mips}")

    @contextmanager
    def _errors(self, box: Box | None = None) -> Iterator[None]:
        """Turn whatever the libraries raise into a SourceError."""
        cloud_volume()
        from cloudfiles.interfaces import HttpInterface

        adapter: Any = HttpInterface.adaptor
        adapter.refused = None
        LIMITS.bytes = INFO_BYTES + (self._stored_bytes(box) if box else 0)
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
