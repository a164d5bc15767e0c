"""The parts of a spec that say what is written, and where, and who is told of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ddgm.pipeline.spec.base import Pixels, StrictModel
from ddgm.workers.urls import Url

Layer = Literal[
    "reconstruction",
    "truth",
    "algebraic",
    "sinogram",
    "spread",
    "measured",
    "invented",
    "contradicted",
    "low",
    "high",
]
BOUNDS: tuple[Layer, ...] = "low", "high"  # between which the truth lies, by the calibration
GREY: tuple[Layer, ...] = "reconstruction", "truth", "algebraic", *BOUNDS  # others are float32
ERRORS: tuple[Layer, ...] = "invented", "contradicted"  # which add up to the error, in grey levels
NEED_TRUTH: tuple[Layer, ...] = "truth", *ERRORS, *BOUNDS  # which is there where it is simulated
SPECTRAL: tuple[Layer, ...] = "measured", *ERRORS  # which need A's singular vectors


class Output(StrictModel):
    """Layers to write, and where to write them."""

    path: Url = Field(description="the run's folder, or a URL that fsspec writes")
    dtype: Literal["uint8", "float32"] = "uint8"
    layers: tuple[Layer, ...] = ("reconstruction", "truth", "algebraic")
    chunks: tuple[Pixels, Pixels, Pixels] = Field(
        default=(64, 64, 64), description="z, y, x; each becomes the nearest divisor of the block"
    )
    compression: int = Field(default=3, ge=1, le=22, description="zstd level")
    grey_step: int = Field(
        default=1,
        ge=1,
        le=16,
        description="grey levels from one to the next that is written, of images in uint8: 4 takes "
        "0.6 of the bytes and adds 2 % to the MSE, see docs/results/codecs.md",
    )
    also: Literal["precomputed"] | None = Field(
        default=None,
        description="the finished reconstruction and its levels once more, in RUN/precomputed, "
        "for tools that read no zarr",
    )

    def dtype_of(self, layer: Layer) -> str:
        """Data type of a layer as it is stored."""
        return self.dtype if layer in GREY else "float32"

    @model_validator(mode="after")
    def _layers_make_sense(self) -> Output:
        if self.grey_step > 1 and self.dtype != "uint8":
            raise ValueError(
                f"grey_step: {self.grey_step} is of images in uint8, and dtype is {self.dtype}; "
                "leave one of them out"
            )
        if "reconstruction" not in self.layers or len(set(self.layers)) != len(self.layers):
            raise ValueError("layers: list each once, `reconstruction` among them")
        return self


class PrometheusSpec(StrictModel):
    """The address at which the driver serves metrics for Prometheus."""

    port: int = Field(ge=0, le=65535, description="0: any that is free")
    address: str = Field(default="127.0.0.1", description="of this machine; 0.0.0.0: all of them")


class Notify(StrictModel):
    """Those who are told of a run's end, unless its user stopped it."""

    command: tuple[str, ...] = Field(
        default=(),
        description="words of a program, which has the outcome in its environment",
    )
    webhook: str = Field(
        default="",
        description="environment variable with the URL that is posted to",
    )

    @field_validator("webhook")
    @classmethod
    def _is_a_variable(cls, webhook: str) -> str:
        if webhook and not (webhook.isascii() and webhook.isidentifier()):
            raise PydanticCustomError(
                "secret",  # a value of which nothing is shown
                "must be the name of an environment variable that holds the URL, as CHAT_URL: who "
                "reads a spec could write there",
            )
        return webhook
