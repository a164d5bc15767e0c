"""Unconditional generation (Eq. 2): images that a prior makes of noise, and how real they are."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddgm.core import paper
from ddgm.core.errors import DdgmError
from ddgm.core.methods import samplers
from ddgm.core.methods.schedules import eq2_levels
from ddgm.core.metrics.realism import Realism, compare
from ddgm.core.networks.denoiser import Precision
from ddgm.core.networks.prior import Prior, PriorCard, PriorError, load_prior
from ddgm.core.networks.tiling import tile_starts
from ddgm.core.simulation.noise import NoiseField, SliceOrigin, numbered_origins
from ddgm.core.training.data import PatchError
from ddgm.pipeline.block.denoising import slice_denoiser
from ddgm.pipeline.block.solver import default_device
from ddgm.pipeline.evaluation import figures
from ddgm.pipeline.spec.model import PriorSpec
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.patches import random_patches
from ddgm.pipeline.volumes.volume import Volume

Progress = Callable[[int, int], None]

SIGMA, ALPHA, BETA, STEPS = (
    paper.GENERATION_SIGMA,
    paper.ALPHA,
    paper.BETA,
    paper.GENERATION_STEPS,
)
SMALLEST = 16  # pixels a side; below it there are no frequencies to compare
BATCH = 8  # patches to a network call, always: an image has the same bits in any company
FILES = "samples.npy", "samples.png", "realism.json", "realism.png"


class GenerationError(DdgmError):
    """Images that cannot be made, scored or written as asked."""


@dataclass(frozen=True)
class GenerationRequest:
    """A request for generated images.

    Attributes:
        prior: a shipped prior's name, or a weights file.
        count: how many.
        size: height and width, in pixels; default: the prior's patch.
        seed: image k depends on (seed, k), the size and the prior, not on how many there are.
        precision: of the network's products.
    """

    prior: str = "small"
    count: int = 16
    size: tuple[int, int] | None = None
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise GenerationError(f"--count: {self.count} images; ask for at least 1")
        if self.size is not None and min(self.size) < SMALLEST:
            raise GenerationError(
                f"--size: {self.size[0]} x {self.size[1]} pixels; give at least {SMALLEST} a side"
            )

    @cached_property
    def weights(self) -> Prior:
        """The prior, loaded once.

        Raises:
            PriorError: no such prior, one that was not trained at all of Eq. 2's levels, or one
                that sees neighbouring slices.
        """
        prior = load_prior(self.prior)
        prior.card.check_alone(f"--prior: {self.prior}", "choose another prior")
        levels = eq2_levels(SIGMA, ALPHA, BETA, STEPS)
        if not prior.card.knows(levels[0], levels[-1]):
            low, high = prior.card.sigma_range
            raise PriorError(
                f"--prior: {self.prior} was trained at noise levels from {low:g} to {high:g}, and "
                f"generation goes from {levels[0]:g} to {levels[-1]:.3g}; choose another prior"
            )
        return prior

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        patch = self.weights.card.patch
        return self.size or (patch, patch)

    @property
    def side(self) -> int:
        """Side of the square patches that are scored, in pixels."""
        return min(self.weights.card.patch, *self.shape)

    @property
    def patches(self) -> int:
        """Number of patches that are scored: as many as fit side by side into the images."""
        height, width = self.shape
        return self.count * (height // self.side) * (width // self.side)


@dataclass(frozen=True)
class Real:
    """Real patches to score against.

    Attributes:
        volume, box: what they were drawn from.
        patches: (n, side, side) float32, normalised as the prior's images are.
    """

    volume: Volume
    box: Box
    patches: np.ndarray


@torch.inference_mode()
def make(request: GenerationRequest, progress: Progress | None = None) -> np.ndarray:
    """The images asked for, (count, H, W) float32, normalised.

    Args:
        request: which.
        progress: called as progress(done, total), in noise levels of all batches of images.

    Raises:
        PriorError: see `GenerationRequest.weights`.
    """
    prior, shape, device = request.weights, request.shape, default_device()
    stride = max(1, prior.card.patch * paper.STRIDE // paper.PATCH)
    spec = PriorSpec(weights=request.prior, precision=request.precision, stride=stride, batch=BATCH)
    denoise = slice_denoiser(prior, spec, device)
    field = NoiseField(request.seed, "generation")
    sigmas = eq2_levels(SIGMA, ALPHA, BETA, STEPS)
    at_once = _images_at_once(shape, prior.card.patch, stride)
    origins = numbered_origins(request.count)
    batches = [origins[i : i + at_once] for i in range(0, request.count, at_once)]
    done = itertools.count(1)

    def report(n: int, x: Tensor) -> None:
        if progress is not None:
            progress(next(done), len(batches) * STEPS)

    def images(batch: list[SliceOrigin]) -> Tensor:
        def noise(n: int) -> Tensor:
            return field.batch(shape, batch, n).to(device)

        return samplers.generate(denoise, noise, sigmas, ALPHA, BETA, report).cpu()

    return torch.cat([images(batch) for batch in batches]).numpy()


def _images_at_once(shape: tuple[int, int], patch: int, stride: int) -> int:
    """Images whose patches fill a network call; one where an image has more."""
    rows, columns = (len(tile_starts(max(n, patch), patch, stride)) for n in shape)
    return max(1, BATCH // (rows * columns))


def read_real(
    request: GenerationRequest,
    volume: Volume,
    box: Box | None = None,
    progress: Progress | None = None,
) -> Real:
    """Twice as many real patches as will be scored, at random places, read one by one.

    Args:
        request: decides how many, how large and (by its seed) where.
        volume: where they come from; nothing but the patches is read.
        box: the part of it to draw from, such as one that the prior was not trained on.
        progress: called as progress(done, total), in patches.

    Raises:
        SourceError: the volume or its box cannot be read.
        GenerationError: no patch fits.
    """
    box = box or volume.info.bounds
    try:
        grey = random_patches(
            volume, box, request.side, 2 * request.patches, request.seed, progress
        )
    except PatchError as error:
        raise GenerationError(f"--real: {error}") from error
    card = request.weights.card
    return Real(volume, box, card.intensity.normalised(grey)[:, 0])


def prepared(out: Path, request: GenerationRequest) -> Folder:
    """The folder that the results go to, made if it is not there, once the prior is known to be.

    Raises:
        PriorError: see `GenerationRequest.weights`.
        GenerationError: the folder is a file, or cannot be made or written.
    """
    request.weights  # noqa: B018
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file is in the way, or the disk says no
        raise GenerationError(f"--out: {out}: {error.strerror}; choose another folder") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise GenerationError(f"--out: {out} cannot be written; choose another folder")
    return Folder(str(out))


def write(
    out: Folder, request: GenerationRequest, images: np.ndarray, real: Real | None = None
) -> Realism | None:
    """Write the images, and their scores where there are real patches.

    What an earlier call left there is replaced, so that no score stands beside other images.

    Args:
        out: the folder.
        request: what the images were made by.
        images: (count, H, W), normalised.
        real: what to score them against, see `read_real`.
    """
    for name in FILES:
        out.delete(name)
    card, array = request.weights.card, BytesIO()
    np.save(array, _grey(images, card))
    out.write("samples.npy", array.getvalue())
    same = real is not None and real.patches.shape[1:] == images.shape[1:]
    beside = _grey(real.patches, card) if real is not None and same else None
    picture = figures.samples(_grey(images, card), beside, card.voxel_size_nm, _note(request))
    out.write("samples.png", picture)
    if real is None:
        return None
    patches = cut(images, request.side)
    realism = compare(patches, real.patches)
    out.write("realism.json", json.dumps(_record(request, real, realism), indent=2).encode())
    out.write("realism.png", figures.realism(patches, real.patches, realism))
    return realism


def cut(images: np.ndarray, side: int) -> np.ndarray:
    """(n, side, side) patches that lie side by side in (count, H, W) images; the rest is left."""
    count, rows, columns = len(images), images.shape[1] // side, images.shape[2] // side
    grid = images[:, : rows * side, : columns * side].reshape(count, rows, side, columns, side)
    return grid.swapaxes(2, 3).reshape(-1, side, side)


def _grey(images: np.ndarray, card: PriorCard) -> np.ndarray:
    return card.intensity.grey(images)


def _note(request: GenerationRequest) -> str:
    return (
        f"prior {Path(request.prior).stem} ({request.weights.digest[:8]}) · "
        f"{STEPS} steps from σ = {SIGMA:g} · seed {request.seed}"
    )


def _record(request: GenerationRequest, real: Real, realism: Realism) -> dict[str, Any]:
    """The contents of realism.json: the scores, and all that they depend on."""
    return {
        "distances": asdict(realism),
        "patches": {"count": request.patches, "side": request.side},
        "generated": {
            "prior": request.prior,
            "sha256": request.weights.digest,
            "count": request.count,
            "size": request.shape,
            "seed": request.seed,
            "precision": request.precision,
            "schedule": {"sigma": SIGMA, "alpha": ALPHA, "beta": BETA, "steps": STEPS},
        },
        "real": {"url": real.volume.url, "mip": real.volume.mip, "box": asdict(real.box)},
    }
