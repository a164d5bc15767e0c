"""What every part of a spec is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of a spec: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
