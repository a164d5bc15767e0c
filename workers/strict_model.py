"""The base class of all that a spec is made of.

It lies here because `workers` is the lowest room with pydantic, and has specs of its own.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A part of a spec: refuses unknown keys, inf and NaN, and is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
