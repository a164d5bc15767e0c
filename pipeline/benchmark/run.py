"""One comparison, from patches to the table and the picture."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddgm_core.denoiser import Precision, PriorCard, load_prior
from ddgm_core.errors import DdgmError
from ddgm_core.geometry import Detector
from ddgm_core.training.data import PatchError
from pipeline.benchmark import table
from pipeline.benchmark.measure import SHOWN, Progress, Result, Trial, measure
from pipeline.benchmark.methods import METHODS
from pipeline.files import Folder
from pipeline.patches import random_patches
from pipeline.source import Box, Volume


class BenchmarkError(DdgmError):
    """A comparison that cannot be made as asked."""


@dataclass(frozen=True)
class Request:
    """What is compared.

    Attributes:
        url: a precomputed volume that the prior was not trained on.
        mip: level of resolution.
        box: the part of it to draw patches from; None for all.
        methods: names of `METHODS`.
        patches: how many.
        detector: of the tilts.
        prior: a shipped prior's name, or a weights file.
        precision: of the network's products.
        seed: of patches, tilts and samplers.
        tilt_noise: σ_y.
        batch: slices that are solved at once.
    """

    url: str
    mip: int = 0
    box: Box | None = None
    methods: tuple[str, ...] = tuple(METHODS)
    patches: int = 128
    detector: Detector = "perpendicular"
    prior: str = "small"
    precision: Precision = "float32"
    seed: int = 0
    tilt_noise: float = 4.1
    batch: int = 16

    def __post_init__(self) -> None:
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise BenchmarkError(
                f"--methods: {', '.join(unknown) or 'none'}; choose of {', '.join(METHODS)}"
            )
        for name in ("patches", "batch"):
            if getattr(self, name) < 1:
                raise BenchmarkError(f"--{name}: {getattr(self, name)}; give at least 1")
        if self.tilt_noise <= 0:
            raise BenchmarkError(
                f"--noise: {self.tilt_noise:g}; give the noise of the tilts, above 0"
            )


def benchmark(request: Request, out: Path, progress: Progress) -> dict[str, Result]:
    """Compare, and write benchmark.json, benchmark.md and benchmark.png into `out`.

    A method whose result is there from an earlier start of the same comparison is not run again.

    Raises:
        DdgmError: prior, volume, box or methods cannot be used.
    """
    prior = load_prior(request.prior)
    patches = normalised(request, prior.card)
    folder = Folder(str(out))
    digest = hashlib.sha256(patches.numpy().tobytes()).hexdigest()
    trial = Trial(
        request.detector, request.prior, prior.digest, request.precision, request.tilt_noise,
        request.seed, request.batch, digest,
    )  # fmt: skip
    results = measure(request.methods, trial, patches, folder, progress)
    rows = {name: {"settings": METHODS[name].settings, **asdict(r)} for name, r in results.items()}
    record = {"trial": asdict(trial), "methods": rows}
    folder.write("benchmark.json", json.dumps(record, indent=2).encode())
    folder.write("benchmark.md", table.markdown(results, trial, tuple(patches.shape)).encode())
    images = {name: np.load(out / "results" / f"{name}.npy") for name in results}
    folder.write("benchmark.png", table.picture(images, results, patches[:SHOWN].numpy()))
    return results


def normalised(request: Request, card: PriorCard) -> Tensor:
    """The patches, (n, side, side), in the prior's units."""
    volume = Volume(request.url, request.mip)
    box = request.box or volume.info.bounds
    try:
        grey = random_patches(volume, box, card.patch, request.patches, request.seed)
    except PatchError as error:
        raise BenchmarkError(f"--box: {error}") from error
    return torch.from_numpy((grey - card.mean) / card.std).float()
