"""The base class of all specs, and their axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

Axis = Literal["z", "y", "x"]


class StrictModel(BaseModel):
    """A part of a spec: refuses unknown keys and is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_box(box: Mapping[Axis, tuple[int, int]] | None) -> None:
    """Check that a box has a start and a stop by axis.

    Raises:
        ValueError: an axis is missing, or does not rise.
    """
    if box is not None and set(box) != {"z", "y", "x"}:
        raise ValueError("box: needs a start and a stop for each of z, y and x")
    for axis, (start, stop) in (box or {}).items():
        if stop <= start:
            raise ValueError(f"box.{axis}: stop {stop} is not above start {start}")
