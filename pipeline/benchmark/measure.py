"""Methods on the same measurements: how good, how fast, and with how much memory."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from ddgm_core import metrics
from ddgm_core.denoiser import NetworkDenoiser, Precision, load_prior
from ddgm_core.geometry import Detector, TiltGeometry
from ddgm_core.noise import NoiseField, Place
from ddgm_core.projectors import Projector, Spectral, projector
from ddgm_core.projectors.dense import DenseProjector
from pipeline.benchmark.methods import METHODS, Method, Problem
from pipeline.files import Folder
from pipeline.solver import default_device

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trial:
    """What all methods of a table have in common; with a method's name, all that decides a result.

    Attributes:
        detector: of the tilts.
        prior: a shipped prior's name, or a weights file.
        digest: SHA-256 of the weights.
        precision: of the network's products.
        tilt_noise: σ_y.
        seed: of the tilts' noise and of the samplers'.
        batch: slices that are solved at once.
        data: digest of the patches.
    """

    detector: Detector
    prior: str
    digest: str
    precision: Precision
    tilt_noise: float
    seed: int
    batch: int
    data: str


SHOWN = 6  # slices whose reconstructions are kept, for the picture


@dataclass(frozen=True)
class Result:
    """One method's scores, patch by patch, and what they cost."""

    mse: list[float]
    ssim: list[float]
    residual: list[float]
    seconds: float  # a patch
    bytes: int  # the process at its largest, or the GPU's

    def mean(self, name: str) -> tuple[float, float]:
        """Mean of a score over patches, and its standard error."""
        values = torch.tensor(getattr(self, name), dtype=torch.float64)
        spread = float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        return float(values.mean()), spread


def measure(
    names: Sequence[str], trial: Trial, patches: Tensor, folder: Folder, progress: Progress
) -> dict[str, Result]:
    """Every method's result, from `folder` where it is there, else measured and kept.

    Each method has a process of its own, so that its memory is its own.

    Args:
        names: of `METHODS`.
        trial: what they have in common.
        patches: (n, thickness, width) normalised slices.
        folder: for one file a method; a file of another trial is measured again.
        progress: called as progress(done, total), in methods.
    """
    results = {}
    for done, name in enumerate(names):
        progress(done, len(names))
        key = {"method": name, "settings": METHODS[name].settings, **asdict(trial)}
        kept = folder.read(f"results/{name}.json")
        record = json.loads(kept) if kept else {}
        if record.get("key") != key:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                result, images = pool.submit(solve, name, trial, patches).result()
            buffer = BytesIO()
            np.save(buffer, images)
            folder.write(f"results/{name}.npy", buffer.getvalue())
            record = {"key": key, "result": asdict(result)}
            folder.write(f"results/{name}.json", json.dumps(record).encode())
        results[name] = Result(**record["result"])
    progress(len(names), len(names))
    return results


def solve(name: str, trial: Trial, patches: Tensor) -> tuple[Result, np.ndarray]:
    """One method on all patches, in this process; and its first few reconstructions."""
    method, device = METHODS[name], default_device()
    prior = load_prior(trial.prior, trial.digest)
    denoise = NetworkDenoiser(prior.network, trial.precision, device)
    thickness, width = patches.shape[1:]
    a = projector_for(method, TiltGeometry.uniform(thickness, width, detector=trial.detector))
    scores: dict[str, list[float]] = {"mse": [], "ssim": [], "residual": []}
    seconds, shown = 0.0, []
    for first in range(0, len(patches), trial.batch):
        truth = patches[first : first + trial.batch].to(device)
        problem = _problem(a, denoise, trial, truth, first)
        start = time.perf_counter()
        with torch.no_grad():
            x = method.solve(problem)
        x = x.cpu()  # waits for a GPU
        seconds += time.perf_counter() - start
        shown.append(x)
        scores["mse"] += metrics.mse(x, truth.cpu()).tolist()
        scores["ssim"] += metrics.ssim(x, truth.cpu()).tolist()
        residual = metrics.data_residual(a, x.to(device), problem.y, trial.tilt_noise)
        scores["residual"] += residual.tolist()
    result = Result(**scores, seconds=seconds / len(patches), bytes=_peak(device))
    return result, torch.cat(shown)[:SHOWN].numpy()


def projector_for(method: Method, geometry: TiltGeometry) -> Projector:
    """The fastest backend that has what a method needs.

    Raises:
        DecompositionError: it needs singular values, and this machine has no room for them.
    """
    device = default_device()
    backend = projector(geometry, device=device)
    if method.spectral and not isinstance(backend, Spectral):
        return DenseProjector(geometry, device=device)
    return backend


def _problem(
    a: Projector, denoise: NetworkDenoiser, trial: Trial, truth: Tensor, first: int
) -> Problem:
    places: list[Place] = [(0, 0, first + i) for i in range(len(truth))]
    y = a.forward(truth)
    tilts, field = NoiseField(trial.seed, "sinogram"), NoiseField(trial.seed, "sampler")
    y = y + trial.tilt_noise * tilts.batch(tuple(y.shape[1:]), places).to(y)
    shape = tuple(truth.shape[1:])

    def noise(n: int) -> Tensor:
        return field.batch(shape, places, n).to(y)

    return Problem(a, y, denoise, noise, trial.tilt_noise)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
