"""The pipeline spec: what a run depends on, as a checked and frozen model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ddgm.core import paper, plugins
from ddgm.core.methods.classical import Algebraic
from ddgm.core.methods.diffusion import Ddgm
from ddgm.core.methods.registry import METHODS
from ddgm.core.networks.denoiser import Precision
from ddgm.core.networks.prior import shipped_priors
from ddgm.core.networks.tiling import Bump
from ddgm.core.projectors import BACKENDS
from ddgm.pipeline.spec import measured
from ddgm.pipeline.spec.base import Axis, Pixels, StrictModel
from ddgm.pipeline.spec.method import MethodSpec
from ddgm.pipeline.spec.output import BOUNDS, Notify, Output, PrometheusSpec
from ddgm.pipeline.spec.source import Source
from ddgm.pipeline.spec.tilts import Tilts, held_out
from ddgm.workers.specs import Cluster, Local, PoolSpec, Prices
from ddgm.workers.urls import Url


class Slab(StrictModel):
    """The cut of the box into slabs, and of these into slices."""

    thickness_axis: Axis = Field(default="z", description="the beam runs along it at tilt 0")
    width_axis: Axis = Field(default="y", description="the detector's bins lie along it")
    tilt_axis: Axis = Field(
        default="x", description="the slab turns about it; slices follow along it"
    )
    thickness: Pixels = Field(default=paper.PATCH, ge=11, description="of a slab, in pixels")
    width: Pixels | None = Field(
        default=None, ge=11, description="of a slab; default: the box's whole width"
    )
    slabs: Literal["all"] | tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default="all", description="which of the box's slabs, counted from 0, along the width first"
    )

    @model_validator(mode="after")
    def _axes_differ(self) -> Slab:
        if len({self.thickness_axis, self.width_axis, self.tilt_axis}) != 3:
            raise ValueError("thickness_axis, width_axis and tilt_axis must be three axes")
        return self


class PriorSpec(StrictModel):
    """The denoiser, and how it is run over slices wider than its patch."""

    weights: Url = Field(
        default="small",
        description="a shipped prior's name, a .safetensors file, or another package's prior",
    )
    sha256: str | None = Field(default=None, description="refuse any other weights")
    restorer: Url | None = Field(
        default=None,
        description="a network that restores such tilt series, by name or file, for the method "
        "`restore`, and for `ddx` with start: restored",
    )
    restorer_sha256: str | None = Field(default=None, description="refuse any other restorer")
    any_voxel_size: bool = Field(
        default=False,
        description="use the prior, which was trained on cubes, on slices whose pixels are not "
        "square; otherwise they are refused",
    )
    precision: Precision = Field(
        default="float32",
        description="of the products: bfloat16 halves a CPU's time where it has it, and is a "
        "GPU's; float8 is quicker still, from Hopper's generation on",
    )
    tiling: Literal["tiles", "rows"] = Field(
        default="tiles",
        description="overlapping tiles; or rows, whole slices at once: a quarter less to compute "
        "on wide slices, on a CPU",
    )
    stride: Pixels = Field(default=paper.STRIDE, description="from patch to patch, in pixels")
    bump: Bump = Field(default="floor", description="blending window, see docs/decisions.md")
    batch: int = Field(
        default=8, ge=1, le=4096, description="patches to a network call; 64 on a GPU"
    )

    @property
    def images_per_call(self) -> int:
        """Images to a network call: patches, or whole slices one by one."""
        return self.batch if self.tiling == "tiles" else 1


class BlockSpec(StrictModel):
    """The unit of work and of writing."""

    slices: Pixels = Field(default=32, description="consecutive slices of one slab")
    batch: Pixels = Field(
        default=8, description="slices solved at once; slices is a multiple of it"
    )
    halo: int = Field(
        default=16,
        ge=0,
        lt=2**31,
        description="neighbours on either side that a block reconstructs as well, and does not "
        "write, where the method couples slices, and no more than it looks at; see "
        "docs/results/volumes.md",
    )

    @model_validator(mode="after")
    def _batches_fit(self) -> BlockSpec:
        if self.slices % self.batch:
            fits = next(n for n in range(self.batch, 0, -1) if self.slices % n == 0)
            raise ValueError(
                f"slices: {self.slices} must be a multiple of batch, {self.batch}; "
                f"with batch: {fits} it is"
            )
        return self


class Limits(StrictModel):
    """Bounds on what goes wrong."""

    attempts: int = Field(
        default=3, ge=1, le=1000, description="at a block, before it counts as failed"
    )
    block_seconds: float = Field(
        default=3600,
        gt=0,
        le=1e7,
        description="longest time that a worker may be at one stage of a block; then it is "
        "restarted, and the block tried again",
    )


# parts of a spec on which no voxel depends; the calibration's own digest counts
NOT_DECIDING = "cluster", "pool", "limits", "prices", "prometheus", "notify", "calibration"


class Spec(StrictModel):
    """All that a run depends on.

    Examples:
        >>> spec = ddgm.load_spec({"source": {"url": "file:///data/em"}, "output": {"path": "run"}})
        >>> spec.tilts.count, spec.method.name
        (128, 'ddgm')
    """

    source: Source
    output: Output
    slab: Slab = Slab()
    tilts: Tilts = Tilts()
    prior: PriorSpec = PriorSpec()
    method: MethodSpec = Ddgm()
    algebraic: Algebraic = Algebraic()
    calibration: Url | None = Field(
        default=None,
        description="a file of `ddgm calibrate`; it gives the layers low and high",
    )
    block: BlockSpec = BlockSpec()
    cluster: Cluster = Local()
    pool: PoolSpec = PoolSpec()
    limits: Limits = Limits()
    prices: Prices | None = Field(
        default=None,
        description="what machines and bytes cost, for `ddgm plan` and the report",
    )
    prometheus: PrometheusSpec | None = Field(
        default=None, description="metrics of the driver; default: not served"
    )
    notify: Notify | None = Field(default=None, description="default: nobody is told")

    @model_validator(mode="after")
    def _series_is_settled(self) -> Spec:
        if self.source.is_measured:
            measured.settle(self)
        elif self.tilts.hold_out:
            held_out(self.tilts.count, self.tilts.hold_out)
        return self

    @model_serializer(mode="wrap")
    def _only_its_own(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        parts = handler(self)
        return measured.without_refused(parts) if self.source.is_measured else parts

    @model_validator(mode="after")
    def _data_have_noise(self) -> Spec:
        if self.method.needs_noise and self.tilts.noise == 0:
            raise ValueError(
                f"tilts.noise: 0 leaves {self.method.name} nothing to weigh data and prior by; "
                "give the noise of the tilts, or choose another method"
            )
        return self

    @model_validator(mode="after")
    def _spread_has_chains(self) -> Spec:
        chains = self.method.chains
        if "spread" in self.output.layers and chains < 2:
            raise ValueError(
                f"output.layers: spread is that of several chains, and method.samples is {chains}; "
                "set it to 4 or more, or leave the layer out"
            )
        return self

    @model_validator(mode="after")
    def _calibration_gives_bounds(self) -> Spec:
        """Add low and high to the layers of a spec with a calibration."""
        layers = self.output.layers
        if self.calibration is None:
            if bound := next((layer for layer in BOUNDS if layer in layers), None):
                raise ValueError(
                    f"output.layers: {bound} is an interval's end, which a calibration gives; name "
                    "a file of `ddgm calibrate` as calibration, or leave the layer out"
                )
            return self
        more = tuple(layer for layer in BOUNDS if layer not in layers)
        whole = self.output.model_copy(update={"layers": (*layers, *more)})
        object.__setattr__(self, "output", whole)
        return self

    @model_validator(mode="after")
    def _restorer_is_there(self) -> Spec:
        if "restorer" in self.method.networks and self.prior.restorer is None:
            raise ValueError(
                f"prior.restorer: method {self.method.name} calls a network that restores tilt "
                "series, and none is given; give a shipped one's name or a file that `ddgm train` "
                "made, or choose a method that calls none"
            )
        return self

    @model_validator(mode="after")
    def _halo_is_in_proportion(self) -> Spec:
        block = self.block
        if self.halo > block.slices:
            raise ValueError(
                f"block.halo: {self.halo} slices on either side are more than the block's "
                f"{block.slices}, so most of the work would be thrown away; make block.slices "
                "larger, or the halo smaller"
            )
        return self

    @property
    def halo(self) -> int:
        """Slices on either side that a block reconstructs as well: no more than count for it."""
        if not self.method.couples_slices:
            return 0
        return min(self.block.halo, self.method.reach or self.block.halo)

    def packages(self) -> dict[str, str]:
        """Other people's packages that the spec names, each with its version, by entry point."""
        named: tuple[tuple[plugins.Group, str | None, Collection[str]], ...] = (
            ("ddgm.methods", self.method.name, METHODS),
            ("ddgm.projectors", self.tilts.projector, BACKENDS),
            ("ddgm.denoisers", self.prior.weights, shipped_priors()),
        )
        return {
            f"{group}: {name}": plugins.provider(group, name)
            for group, name, ours in named
            if name is not None and name not in ours and name in plugins.names(group)
        }

    def results_digest(self, **others: Any) -> str:
        """SHA-256 of all that the written bytes depend on, with `others` that do.

        Where the work runs, how often it is tried, and where output and weights lie is left out:
        it changes no byte, nor does what is allowed. The weights' own digest is for `others`, and
        so is the calibration's.
        """
        nowhere: Any = {
            "source": {"bandwidth"},
            "output": {"path", "also"},
            "prior": {"weights", "sha256", "any_voxel_size", "restorer"},
        }
        where = dict.fromkeys(NOT_DECIDING, True) | nowhere
        parts = self.model_dump(mode="json", exclude=where)
        if self.tilts.projector is None:  # as before there was a choice
            del parts["tilts"]["projector"]
        for name in ("simulate", "hold_out"):  # likewise
            if getattr(self.tilts, name) is None:
                parts["tilts"].pop(name, None)
        if self.prior.restorer_sha256 is None:
            del parts["prior"]["restorer_sha256"]
        if self.output.grey_step == 1:  # likewise
            del parts["output"]["grey_step"]
        for name, usual in (("start", "zero"), ("passes", 1), ("channels", 1)):  # likewise
            if parts["method"].get(name) == usual:
                del parts["method"][name]
        if not self.method.couples_slices:
            del parts["block"]["halo"]
        if self.source.resample is None:  # likewise
            parts["source"].pop("resample", None)
        if packages := self.packages():
            parts["packages"] = packages
        text = json.dumps({"spec": parts, **others}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
