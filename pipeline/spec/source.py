"""The part of a spec that says what is imaged: a volume, or a measured tilt series."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ddgm.core.intensity import Intensity
from ddgm.pipeline.spec.base import Axis, Nanometres, Pixels, StrictModel, Voxel, check_box
from ddgm.workers.urls import Url

OF_VOLUMES = "url", "mip", "resample", "missing", "invalid", "bandwidth"
OF_SERIES = "tilts", "views", "thickness", "binning", "voxel_size_nm", "signal", "views_sha256"
NEEDED = "views", "thickness", "voxel_size_nm"


class Source(StrictModel):
    """The volume that is imaged, or the tilt series that was measured: `url`, or `tilts`."""

    url: Url | None = Field(
        default=None, description="any URL that cloud-volume reads, or an OME-Zarr image's"
    )
    mip: int = Field(default=0, ge=0, le=100, description="level of resolution")
    resample: Nanometres | tuple[Nanometres, Nanometres, Nanometres] | None = Field(
        default=None,
        description="size of the voxels, in nm, that the volume is brought to as it is read: one, "
        "or z, y, x; default: its own",
    )
    box: dict[Axis, tuple[Voxel, Voxel]] | None = Field(
        default=None,
        description="start and stop by axis, in voxels of the mip, or of resample; default: all of "
        "it",
    )
    missing: Literal["error"] | Annotated[int, Field(ge=0, lt=2**64)] = Field(
        default="error",
        description="source chunks that are not there: an error, or this grey level",
    )
    invalid: Literal["error"] | Annotated[float, Field(allow_inf_nan=False)] = Field(
        default="error",
        description="source voxels that are NaN or infinite: an error, or this grey level",
    )
    bandwidth: Annotated[float, Field(ge=1e3, allow_inf_nan=False)] | None = Field(
        default=None,
        description="bytes a second that the run may read of the volume, over all its workers",
    )
    intensity: Intensity | None = Field(
        default=None, description="mean and std that normalise the volume; default: the prior's"
    )
    tilts: Url | None = Field(
        default=None,
        description="a measured tilt series, in place of url: an MRC file, or an array (.npy, "
        "TIFF, zarr) of axes view, row, column",
    )
    views: Url | None = Field(
        default=None, description="the table of its views that `ddgm import` wrote"
    )
    thickness: Annotated[Pixels, Field(ge=11)] | None = Field(
        default=None, description="of the slab that was imaged, in voxels"
    )
    binning: int = Field(default=1, ge=1, le=64, description="pixels of the stack to a voxel")
    voxel_size_nm: Nanometres | None = Field(
        default=None, description="side of a voxel of the result: binning times the pixel's"
    )
    signal: Literal["linear", "transmitted"] = Field(
        default="linear",
        description="linear in the tissue's density, as a dark field; or transmitted, as a bright "
        "field, whose negative logarithm is",
    )
    views_sha256: str | None = Field(default=None, description="refuse any other table of views")

    @property
    def size_nm(self) -> tuple[float, float, float] | None:
        """Size of the voxels that the volume is resampled to, (z, y, x); None where it is not."""
        size = self.resample
        return size if size is None or isinstance(size, tuple) else (size, size, size)

    @property
    def is_measured(self) -> bool:
        """True of a measured tilt series."""
        return self.tilts is not None

    @property
    def place(self) -> str:
        """The volume's URL, or the path of the stack."""
        return self.url or self.tilts or ""

    @model_validator(mode="after")
    def _box_is_whole(self) -> Source:
        check_box(self.box)
        return self

    @model_validator(mode="after")
    def _is_a_volume_or_a_series(self) -> Source:
        if (self.url is None) == (self.tilts is None):
            raise ValueError(
                "url: give one of url, the volume that is imaged, and tilts, a measured tilt series"
            )
        if self.is_measured:
            self._refuse(OF_VOLUMES, "is of volumes, and tilts names a measured tilt series")
            for name in NEEDED:
                if getattr(self, name) is None:
                    raise ValueError(f"{name}: required with tilts; `ddgm import STACK` writes it")
        else:
            self._refuse(OF_SERIES, "is of measured tilt series, and url names a volume")
        return self

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        for name in names:
            if name in self.model_fields_set:
                raise ValueError(f"{name}: {why}; leave it out")

    @model_serializer(mode="wrap")
    def _only_its_own(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys of the other kind, which are refused when it is read again."""
        others = OF_VOLUMES if self.is_measured else OF_SERIES
        return {name: value for name, value in handler(self).items() if name not in others}
