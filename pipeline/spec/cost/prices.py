"""Prices of machines and bytes, and what a run costs with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ddgm.workers.strict_model import StrictModel

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
HOUR = 3600


class Prices(StrictModel):
    """Prices, in any currency; what has none costs nothing."""

    core_hour: Price = Field(default=0.0, description="of a CPU core at work on a block")
    gpu_hour: Price = Field(default=0.0, description="of a GPU at work on a block")
    gb_read: Price = Field(default=0.0, description="of a gigabyte of the source")
    gb_written: Price = Field(default=0.0, description="of a gigabyte of the output's layers")
    thousand_requests: Price = Field(default=0.0, description="of a thousand reads of the source")

    def of(self, used: Mapping[str, float]) -> dict[str, float]:
        """The price of what a run used, by the names of the prices.

        Args:
            used: core and GPU seconds (`core`, `gpu`), bytes (`read`, `written`), `requests`.
        """
        return {
            "core_hour": self.core_hour * used.get("core", 0.0) / HOUR,
            "gpu_hour": self.gpu_hour * used.get("gpu", 0.0) / HOUR,
            "gb_read": self.gb_read * used.get("read", 0.0) / 1e9,
            "gb_written": self.gb_written * used.get("written", 0.0) / 1e9,
            "thousand_requests": self.thousand_requests * used.get("requests", 0.0) / 1e3,
        }
