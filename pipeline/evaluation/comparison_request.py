"""The common ground of a comparison of methods: patches, tilts and prior."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddgm.core import paper
from ddgm.core.errors import DdgmError
from ddgm.core.geometry import Detector, TiltGeometry
from ddgm.core.methods.method import Method
from ddgm.core.networks.denoiser import Precision
from ddgm.core.networks.prior import Prior, load_prior
from ddgm.core.networks.restorer import check_restorer, restorer_card, settled_restorer
from ddgm.core.simulation.acquisition import Acquisition
from ddgm.core.training.data import PatchError
from ddgm.pipeline.evaluation.methods import label
from ddgm.pipeline.spec.base import nearly_equal
from ddgm.pipeline.volumes.array import opened
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.patches import random_patches
from ddgm.pipeline.volumes.volume import Volume


class BenchmarkError(DdgmError):
    """A comparison that cannot be made as asked."""


@dataclass(frozen=True)
class ComparisonSettings:
    """All that decides a method's result, but for the method.

    Attributes:
        detector: of the tilts.
        prior: a shipped prior's name, or a weights file.
        digest: SHA-256 of the weights.
        precision: of the network's products.
        tilt_noise: σ_y.
        seed: of the tilts' noise and of the samplers'.
        batch: slices that are solved at once.
        data: digest of the patches.
        simulate: how the tilts are made, if not with the projector that reconstructs.
        hold_out: every nth view is left out of the reconstruction, and predicted; None for none.
        restorer: a network that restores, for methods that call one; empty for none.
        restorer_digest: SHA-256 of its weights.
        views: how many tilts.
        degrees: the first and the last.
    """

    detector: Detector
    prior: str
    digest: str
    precision: Precision
    tilt_noise: float
    seed: int
    batch: int
    data: str
    simulate: Acquisition | None = None
    hold_out: int | None = None
    restorer: str = ""
    restorer_digest: str = ""
    views: int = paper.VIEWS
    degrees: tuple[float, float] = paper.TILT_RANGE

    def geometry(self, thickness: int, width: int) -> TiltGeometry:
        """Slices of these sides, and the tilts."""
        return TiltGeometry.uniform(thickness, width, self.views, self.degrees, self.detector)

    def described(self, shape: tuple[int, ...]) -> str:
        """Description for the head of a table; `shape` is that of all patches."""
        restorer = f"restorer {self.restorer} ({self.restorer_digest[:12]}…), "
        low, high = self.degrees
        return (
            f"{shape[0]} slices of {shape[1]} x {shape[2]}, detector {self.detector}, "
            f"{self.views} views from {low:g} to {high:g} degrees, σ_y = {self.tilt_noise:g}, "
            f"{restorer if self.restorer else ''}prior {self.prior} ({self.digest[:12]}…, "
            f"{self.precision}), seed {self.seed}, {self.batch} slices at once"
            + (f", simulated with {self.simulate.described}" if self.simulate else "")
            + (f", every {self.hold_out}th view held out" if self.hold_out else "")
        )


@dataclass(frozen=True)
class ComparisonRequest:
    """The data and prior that methods are compared on.

    Attributes:
        url: a precomputed volume, or a .npy file, that the prior was not trained on.
        mip: level of resolution.
        box: the part of it to draw patches from; None for all.
        patches: how many.
        detector: of the tilts.
        prior: a shipped prior's name, or a weights file.
        precision: of the network's products.
        seed: of patches, tilts and samplers.
        tilt_noise: σ_y.
        batch: slices that are solved at once.
        simulate: how the tilts are made, if not with the projector that reconstructs.
        hold_out: every nth view is left out of the reconstruction, and predicted; None for none.
        restorer: a shipped network that restores, or a weights file, for methods that call one.
        views: how many tilts.
        degrees: the first and the last.
        any_tilts: whether the restorer may be given other tilt series than it was trained on.
    """

    url: str
    mip: int = 0
    box: Box | None = None
    patches: int = 128
    detector: Detector = "perpendicular"
    prior: str = "small"
    precision: Precision = "float32"
    seed: int = 0
    tilt_noise: float = paper.TILT_NOISE
    batch: int = 16
    simulate: Acquisition | None = None
    hold_out: int | None = None
    restorer: str = ""
    views: int = paper.VIEWS
    degrees: tuple[float, float] = paper.TILT_RANGE
    any_tilts: bool = False

    def __post_init__(self) -> None:
        for name in ("patches", "batch", "views"):
            if getattr(self, name) < 1:
                raise BenchmarkError(f"--{name}: {getattr(self, name)}; give at least 1")
        if self.tilt_noise <= 0:
            raise BenchmarkError(
                f"--noise: {self.tilt_noise:g}; give the noise of the tilts, above 0"
            )
        low, high = self.degrees
        if not -90 < low <= high < 90:
            raise BenchmarkError(
                f"--degrees: {low:g},{high:g}; give the first tilt and the last, within -90 and 90"
            )

    @cached_property
    def weights(self) -> Prior:
        """The prior, loaded once.

        Raises:
            PriorError: no such prior, or one that sees neighbouring slices.
        """
        prior = load_prior(self.prior)
        prior.card.check_denoises(f"--prior: {self.prior}")
        prior.card.check_alone(f"--prior: {self.prior}", "choose another prior")
        return prior

    @cached_property
    def normalised(self) -> Tensor:
        """The patches, (n, side, side), in the prior's units; read once.

        Raises:
            DdgmError: prior, volume or box cannot be used.
        """
        card = self.weights.card
        volume, bounds = opened(self.url, self.mip)
        if isinstance(volume, Volume):
            _check_cubes(volume)
        try:
            box = self.box or bounds
            grey = random_patches(volume, box, card.patch, self.patches, self.seed)
        except PatchError as error:
            raise BenchmarkError(f"--box: {error}") from error
        return torch.from_numpy(card.intensity.normalised(grey))[:, 0]

    @property
    def comparison(self) -> ComparisonSettings:
        """All of it that decides a result."""
        return ComparisonSettings(
            self.detector,
            self.prior,
            self.weights.digest,
            self.precision,
            self.tilt_noise,
            self.seed,
            self.batch,
            hashlib.sha256(self.normalised.numpy().tobytes()).hexdigest(),
            self.simulate,
            self.hold_out,
            *(settled_restorer(self.restorer) if self.restorer else ("", "")),
            self.views,
            self.degrees,
        )

    def check(self, method: Method) -> None:
        """Refuse what this prior cannot do.

        Raises:
            BenchmarkError: it was not trained at all of a method's noise levels, or the method
                needs neighbouring slices, or a network that restores and is not given.
            PriorError: the network that restores was trained on other tilt series.
        """
        if "restorer" in method.networks:
            self._check_restorer(method)
        if method.couples_slices:
            raise BenchmarkError(
                f"{label(method)}: it couples neighbouring slices, and these are drawn one by one; "
                "leave `planes` out, and take a restorer that sees one slice (channels)"
            )
        card, levels = self.weights.card, method.sigmas
        if levels and not card.knows(max(levels), min(levels)):
            low, high = card.sigma_range
            raise BenchmarkError(
                f"{label(method)}: noise levels from {max(levels):g} to {min(levels):g}; prior "
                f"{self.prior} was trained at {low:g} to {high:g}"
            )

    def _check_restorer(self, method: Method) -> None:
        if not self.restorer:
            raise BenchmarkError(
                f"{label(method)}: it calls a network that restores tilt series; name one with "
                "--restorer"
            )
        if self.any_tilts:
            return
        prior, theirs = self.weights.card, restorer_card(self.restorer)
        tilts = self.comparison.geometry(prior.patch, prior.patch)
        passes, channels = method.passes_of_restorer, method.channels_of_restorer
        check_restorer(self.restorer, theirs, prior, tilts, self.tilt_noise, passes, channels)


def _check_cubes(volume: Volume) -> None:
    """Refuse a volume whose patches, cut along all axes, would not be of square pixels."""
    sizes = volume.info.voxel_size_nm
    if not nearly_equal(sizes):
        raise BenchmarkError(
            f"{volume.url}: voxels of {' x '.join(f'{s:g}' for s in sizes)} nm; patches are cut "
            "along all axes, so give a volume, or a mip, of cubes"
        )
