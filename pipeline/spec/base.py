"""The base class of all specs, and their axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ddgm.workers.strict_model import StrictModel

__all__ = ["Axis", "Nanometres", "Pixels", "Seed", "StrictModel", "Voxel", "check_box"]

Axis = Literal["z", "y", "x"]
Pixels = Annotated[int, Field(ge=1, le=2**16)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # others would share their noise with one of these
Nanometres = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Voxel = Annotated[int, Field(ge=-(2**31), lt=2**31)]  # a place that noise can tell from others


def check_box(box: Mapping[Axis, tuple[Voxel, Voxel]] | None) -> None:
    """Check that a box has a start and a stop by axis.

    Raises:
        ValueError: an axis is missing, or does not rise.
    """
    if box is not None and set(box) != {"z", "y", "x"}:
        raise ValueError("box: needs a start and a stop for each of z, y and x")
    for axis, (start, stop) in (box or {}).items():
        if stop <= start:
            raise ValueError(f"box.{axis}: stop {stop} is not above start {start}")
