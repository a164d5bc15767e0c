"""The training spec: what `ddgm train` depends on, as a checked and frozen model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from ddgm.core import paper
from ddgm.core.geometry import Detector
from ddgm.core.intensity import Intensity
from ddgm.core.networks.conditions import Conditions, conditions_of
from ddgm.core.networks.unet import Architecture
from ddgm.core.training.recipe import (
    Optimizer,
    Precision,
    Recipe,
    RuntimeOptions,
    Schedule,
)
from ddgm.pipeline.spec.base import Axis, StrictModel, check_box
from ddgm.workers.urls import Url


class Region(StrictModel):
    """A box of a volume."""

    url: Url = Field(description="any URL that cloud-volume reads, passed on untouched")
    mip: int = Field(default=0, ge=0, description="level of resolution")
    box: dict[Axis, tuple[int, int]] | None = Field(
        default=None, description="start and stop by axis, in voxels of the mip; default: all of it"
    )
    missing: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="grey level for chunks that are not there; default: an error"
    )

    @model_validator(mode="after")
    def _box_is_whole(self) -> Region:
        check_box(self.box)
        return self


class TrainingRegion(Region):
    """A box of a volume to learn from."""

    share: float | None = Field(
        default=None, gt=0, description="of the patches, relative; default: by voxels"
    )


class Phantom(StrictModel):
    """Procedural neuropil, mixed in."""

    share: float = Field(gt=0, lt=1, description="of all patches")
    side: int = Field(default=192, ge=8, description="of its cube, in voxels")
    seed: int = Field(default=1, ge=0)


class Validation(Region):
    """The part of a volume that the network is validated on and never learns from."""

    patches: int = Field(default=64, ge=1, description="at random but fixed places")
    every: int = Field(default=5000, ge=1, description="updates from one to the next")
    slices: int = Field(
        default=4, ge=0, description="patches that are also reconstructed with DDGM; 0 for none"
    )


class Cache(StrictModel):
    """The cache of bricks on this machine."""

    folder: str | None = Field(
        default=None, description="a fast local disk; default: `bricks` in the output"
    )
    gigabytes: float = Field(default=20.0, gt=0, description="never more than this")
    brick: int = Field(
        default=512, ge=32, description="longest side of what is read at once, or two patches"
    )
    processes: int = Field(default=2, ge=1, description="that read at once")


class Data(StrictModel):
    """The data that the network learns from."""

    volumes: tuple[TrainingRegion, ...] = Field(min_length=1)
    origin: str = Field(min_length=1, description="of the data, with its licence, for the card")
    phantom: Phantom | None = None
    intensity: Intensity | None = Field(
        default=None, description="normalising mean and std; default: measured on all voxels"
    )
    any_voxel_size: bool = Field(
        default=False,
        description="train on voxels that are not cubes, whose patches look different along each "
        "axis; otherwise they are refused",
    )
    cache: Cache = Cache()

    @model_validator(mode="after")
    def _shares_are_all_or_none(self) -> Data:
        given = [v.share is not None for v in self.volumes]
        if any(given) and not all(given):
            raise ValueError("volumes: give a share to each or to none")
        return self


class Network(StrictModel):
    """The U-Net."""

    width: int = Field(default=128, ge=1, description="feature maps, the same at all levels")
    levels: int = Field(default=5, ge=1, le=8, description="of resolution")
    convolutions: int = Field(default=6, ge=2, description="in each block; even")
    groups: int = Field(default=8, ge=1, description="of each GroupNorm")
    channels: int = Field(
        default=1,
        ge=1,
        le=9,
        description="neighbouring slices that it sees, of which it denoises the middle one; odd; "
        "a run needs method.planes: alternate with it; or method.channels, if it restores",
    )
    unshuffle: int = Field(
        default=1,
        ge=1,
        le=8,
        description="side of the squares of pixels that it takes as channels: 2 takes a quarter of "
        "the time at the same width",
    )

    @model_validator(mode="after")
    def _parts_divide(self) -> Network:
        if self.convolutions % 2:
            raise ValueError(f"convolutions: {self.convolutions} must be even: two to a unit")
        if self.width % self.groups:
            raise ValueError(f"width: {self.width} must be a multiple of groups, {self.groups}")
        if self.channels % 2 == 0:
            raise ValueError(f"channels: {self.channels} must be odd: the middle one is denoised")
        return self


class TiltRange(StrictModel):
    """Other tilt series that the network learns to restore as well; drawn for each update."""

    views: tuple[int, int] = Field(description="fewest and most tilts")
    degrees: tuple[float, float] = Field(
        description="least and most of the first and of the last tilt, each on its side"
    )
    noise: tuple[float, float] = Field(description="lowest and highest σ_y, log-uniform between")


class TiltSeries(StrictModel):
    """The tilt series that a network learns to restore; slices are as thick as a patch."""

    detector: Detector = "perpendicular"
    width: int = Field(default=paper.PATCH, ge=8, description="of a slice, in pixels")
    views: int = Field(default=paper.VIEWS, ge=1, description="tilts")
    degrees: tuple[float, float] = Field(default=paper.TILT_RANGE, description="first and last")
    noise: float = Field(default=paper.TILT_NOISE, gt=0, description="σ_y, normalised units")
    passes: int = Field(
        default=1,
        ge=1,
        le=100,
        description="of the network, with a data step before each, that it is trained through",
    )
    range: TiltRange | None = Field(
        default=None,
        description="of tilts and noise to learn from, so that a run may have any of them; the "
        "values above are then those of the validation",
    )

    @model_validator(mode="after")
    def _a_card_can_hold_it(self) -> TiltSeries:
        try:
            tilts = self.conditions(paper.PATCH)
        except ValueError as error:
            said = str(error).removeprefix("restores.").replace("tilt_noise", "noise")
            raise ValueError(said) from error
        if said := tilts.difference(tilts.geometry, self.noise):
            raise ValueError(f"range: {said}, as is validated on; widen it")
        return self

    def conditions(self, thickness: int) -> Conditions:
        """It as the card has it."""
        tilts: dict[str, Any] = self.model_dump(exclude={"passes"}) | {"thickness": thickness}
        for part in filter(None, (tilts, tilts["range"])):
            part["tilt_noise"] = part.pop("noise")
        return conditions_of(tilts)


class Training(StrictModel):
    """The updates; the defaults are the paper's."""

    steps: int = Field(default=380_000, ge=1, description="updates of the weights")
    batch: int = Field(default=64, ge=1, description="patches to an update, over all devices")
    accumulate: int = Field(
        default=1, ge=1, description="parts of a device's share of a batch, to save memory"
    )
    patch: int = Field(default=128, ge=8, description="side, in pixels")
    sigma: tuple[float, float] = Field(default=(0.03, 30.0), description="log-uniform between")
    weighting: float = Field(
        default=0.0, ge=0, le=1, description="0: Eq. 1; 1: all noise levels count alike"
    )
    optimizer: Optimizer = Field(
        default="adam", description="muon learns in fewer updates, see docs/decisions.md"
    )
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate of Adam")
    warmup: int = Field(default=0, ge=0, description="updates in which the rate rises to it")
    schedule: Schedule = Field(default="constant", description="after that; cosine falls to 0")
    clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    average: float = Field(
        default=0.999, ge=0, lt=1, description="decay of the averaged weights, which are kept"
    )
    precision: Precision = "bfloat16"
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _sigma_rises(self) -> Training:
        if not 0 < self.sigma[0] < self.sigma[1] < float("inf"):
            raise ValueError(f"sigma: {list(self.sigma)} must rise and stay above 0")
        return self


class TrainingSpec(StrictModel):
    """All that a training depends on."""

    data: Data
    output: Url = Field(description="folder for checkpoints, logs, pictures and the weights")
    validation: Validation | None = None
    network: Network = Network()
    start: str | None = Field(
        default=None,
        description="a prior to begin with, by name or path; its network may have fewer channels; "
        "default: random weights",
    )
    restore: TiltSeries | None = Field(
        default=None,
        description="the tilt series to learn to restore, for prior.restorer; by default the "
        "network learns to denoise",
    )
    training: Training = Training()
    devices: int = Field(default=1, ge=1, description="GPUs; or processes that share the CPU")
    loaders: int = Field(default=1, ge=1, description="processes to a device that make patches")
    save_every: int = Field(
        default=1000, ge=1, description="updates from one checkpoint to the next"
    )
    weights: Precision = Field(
        default="float32", description="of the file; bfloat16 halves it, and rounds"
    )

    @model_validator(mode="after")
    def _network_fits_patch(self) -> TrainingSpec:
        multiple = self.recipe().architecture.multiple
        if self.training.patch % multiple:
            raise ValueError(
                f"training.patch: {self.training.patch} must be a multiple of {multiple} for a "
                f"network of {self.network.levels} levels and unshuffle {self.network.unshuffle}"
            )
        phantom = self.data.phantom
        if phantom and phantom.side < self.training.patch:
            raise ValueError(
                f"data.phantom.side: {phantom.side} must be at least training.patch, "
                f"{self.training.patch}"
            )
        return self

    def recipe(self) -> Recipe:
        """The settings that decide the weights, the data aside."""
        fields = self.training.model_dump()
        sigma_range = fields.pop("sigma")
        architecture = Architecture(**self.network.model_dump())
        fields |= {"architecture": architecture, "sigma_range": sigma_range}
        if t := self.restore:
            fields["restores"] = t.conditions(self.training.patch)
            fields["passes"] = t.passes
        return Recipe(**fields)

    def runtime_options(self) -> RuntimeOptions:
        """The options that do not change the weights, but for rounding."""
        tried = self.validation or Validation(url="none")
        return RuntimeOptions(
            self.devices, self.loaders, self.save_every, tried.every, tried.slices
        )
