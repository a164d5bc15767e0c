"""The part of a spec that says what is imaged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ddgm.core.intensity import Intensity
from ddgm.pipeline.spec.base import Axis, Nanometres, StrictModel, Voxel, check_box
from ddgm.workers.urls import Url


class Source(StrictModel):
    """The volume that is imaged."""

    url: Url = Field(description="any URL that cloud-volume reads, or an OME-Zarr image's")
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
    intensity: Intensity | None = Field(
        default=None, description="mean and std that normalise the volume; default: the prior's"
    )

    @property
    def size_nm(self) -> tuple[float, float, float] | None:
        """Size of the voxels that the volume is resampled to, (z, y, x); None where it is not."""
        size = self.resample
        return size if size is None or isinstance(size, tuple) else (size, size, size)

    @model_validator(mode="after")
    def _box_is_whole(self) -> Source:
        check_box(self.box)
        return self
