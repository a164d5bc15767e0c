"""The base class of all specs, and their axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from ddgm.core.errors import DdgmError
from ddgm.workers.strict_model import StrictModel

__all__ = [
    "Axis",
    "Nanometres",
    "Pixels",
    "PlanError",
    "Seed",
    "StrictModel",
    "Voxel",
    "check_box",
    "nearly_equal",
    "sides_in_words",
]

Axis = Literal["z", "y", "x"]
Pixels = Annotated[int, Field(ge=1, le=2**16)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # others would share their noise with one of these
Nanometres = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Voxel = Annotated[int, Field(ge=-(2**31), lt=2**31)]  # a place that noise can tell from others


NEARLY_SQUARE = 0.01  # by which sides may differ before a prior is refused


class PlanError(DdgmError):
    """A spec that does not fit its volume."""


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


def nearly_equal(sides: Sequence[float]) -> bool:
    """True if a prior trained on cubes takes voxels, or pixels, of these sides for such."""
    return all(abs(side / sides[-1] - 1) <= NEARLY_SQUARE for side in sides)


def sides_in_words(sides_nm: Mapping[str, float]) -> str:
    """Sides by axis, as in "40 nm along z, 4 nm along y and 4 nm along x"."""
    *others, last = (f"{side:g} nm along {axis}" for axis, side in sides_nm.items())
    return f"{', '.join(others)} and {last}"
