"""Methods on the same measurements: how good, how fast, and with how much memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor

from ddgm.core import plugins
from ddgm.core.device import default_device
from ddgm.core.geometry import TiltGeometry, held_out_views
from ddgm.core.methods.method import Method, Problem
from ddgm.core.methods.registry import METHODS
from ddgm.core.metrics import scores as metrics
from ddgm.core.metrics.fourier import resolutions
from ddgm.core.metrics.realism import radial_power, spectrum_distance
from ddgm.core.metrics.uncertainty import measured_part
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.core.networks.prior import load_prior
from ddgm.core.networks.restorer import load_restorer
from ddgm.core.process_memory import peak_bytes
from ddgm.core.process_work import tell, watch, work
from ddgm.core.projectors import Projector, Spectral, projector
from ddgm.core.projectors.dense import DenseProjector
from ddgm.core.projectors.simulated import simulated
from ddgm.core.simulation.noise import NoiseField, SliceOrigin, numbered_origins
from ddgm.pipeline.evaluation.comparison_request import ComparisonSettings
from ddgm.pipeline.store.files import Folder

Progress = Callable[[int, int], None]


POLL_SECONDS = 0.2  # between two looks at whether a method has ended
SHOWN = 6  # slices whose reconstructions are kept, for the picture


@dataclass(frozen=True)
class Result:
    """One method's scores, and what they cost.

    Attributes:
        mse: of each patch, as all lists.
        ssim: see `scores`.
        residual: see `scores`.
        contradicted: energy of the error in measured directions; empty without an eigenbasis.
        invented: energy of the rest of the error; likewise.
        spectrum: spectral distance of all reconstructions from the truth, in decades.
        resolution_width: of all of them against the truth, in pixels.
        resolution_thickness: likewise.
        seconds: a patch.
        bytes: the process at its largest, or the GPU's.
        held_out: residual of the views that were left out, where some were.
    """

    mse: list[float]
    ssim: list[float]
    residual: list[float]
    contradicted: list[float]
    invented: list[float]
    spectrum: float
    resolution_width: float
    resolution_thickness: float
    seconds: float
    bytes: int
    held_out: list[float] = field(default_factory=list)

    def mean(self, name: str) -> tuple[float, float]:
        """Mean of a score over patches, and its standard error."""
        values = torch.tensor(getattr(self, name), dtype=torch.float64)
        spread = float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        return float(values.mean()), spread


def measure(
    methods: Mapping[str, Method],
    comparison: ComparisonSettings,
    patches: Tensor,
    folder: Folder,
    progress: Progress,
) -> dict[str, Result]:
    """Every method's result, from `folder` where it is there, else measured and kept.

    Each method has a process of its own, so that its memory is its own.

    Args:
        methods: under the names that the results get.
        comparison: what they have in common.
        patches: (n, thickness, width) normalised slices.
        folder: for two files a method; those of another comparison are measured again.
        progress: called as progress(done, total), in methods.
    """
    results, split = {}, any(method.spectral for method in methods.values())
    for done, (name, method) in enumerate(methods.items()):
        progress(done, len(methods))
        result = kept(folder, name, method, comparison)
        if result is None or (split and not result.invented):
            result, images = _in_a_process(method, comparison, patches, split)
            buffer = BytesIO()
            np.save(buffer, images)
            folder.write(f"results/{name}.npy", buffer.getvalue())
            keep(folder, name, method, comparison, result)
        results[name] = result
    progress(len(methods), len(methods))
    return results


def _in_a_process(
    method: Method, comparison: ComparisonSettings, patches: Tensor, split: bool
) -> tuple[Result, np.ndarray]:
    """`solve` in a process of its own, whose work is shown as if it were this one's."""
    context = get_context("spawn")
    told, say = context.Pipe(duplex=False)
    with told, say, ProcessPoolExecutor(1, context, _say_to, (say,)) as pool:
        ended = pool.submit(solve, method, comparison, patches, split)
        running = True
        while running:
            running = not ended.done()  # before the last look, which finds all that was said
            while told.poll(POLL_SECONDS if running else 0.0):
                tell(told.recv())
        tell(None)
        return ended.result()


def _say_to(pipe: Connection) -> None:
    watch(pipe.send)


def kept(
    folder: Folder, name: str, method: Method, comparison: ComparisonSettings
) -> Result | None:
    """A result that `keep` wrote for the same method and comparison; None where there is none."""
    data = folder.read(f"results/{name}.json")
    record = json.loads(data) if data else {}
    if record.get("key") != _key(method, comparison):
        return None
    if record["result"].keys() != Result.__dataclass_fields__.keys():  # of a version with others
        return None
    return Result(**record["result"])


def keep(
    folder: Folder, name: str, method: Method, comparison: ComparisonSettings, result: Result
) -> None:
    """Write a result, with what it is the result of."""
    record = {"key": _key(method, comparison), "result": asdict(result)}
    folder.write(f"results/{name}.json", json.dumps(record).encode())


def _key(method: Method, comparison: ComparisonSettings) -> dict[str, object]:
    theirs = method.name not in METHODS
    by = {"by": plugins.provider("ddgm.methods", method.name)} if theirs else {}
    common = {k: v for k, v in asdict(comparison).items() if v is not None}
    return json.loads(json.dumps({"method": asdict(method), **by, **common}))


def solve(
    method: Method, comparison: ComparisonSettings, patches: Tensor, split: bool = False
) -> tuple[Result, np.ndarray]:
    """One method on all patches, in this process; and its first few reconstructions.

    With `split` the error's two parts are scored also where the method needs no singular values;
    they are found once for a geometry, and kept on the disk.
    """
    device = default_device()
    prior = load_prior(comparison.prior, comparison.digest)
    denoise = NetworkDenoiser(prior.network, comparison.precision, device)
    restore = None
    if "restorer" in method.networks:
        restorer = load_restorer(comparison.restorer, comparison.restorer_digest)
        restore = NetworkDenoiser(restorer.network, comparison.precision, device)
    thickness, width = patches.shape[1:]
    whole = comparison.geometry(thickness, width)
    every = comparison.hold_out
    out = list(held_out_views(whole.views, every)) if every else []
    kept = [view for view in range(whole.views) if view not in out]
    a = projector_for(method, whole.of_views(kept))
    all_views = projector(whole, device=device) if out else a
    scores: dict[str, list[float]] = {"mse": [], "ssim": [], "residual": [], "held_out": []}
    seconds, shown = 0.0, []
    batches = range(0, len(patches), comparison.batch)
    with work(f"running {method.title}", len(batches) * method.rounds, method.name) as step:
        for done, first in enumerate(batches):
            truth = patches[first : first + comparison.batch].to(device)
            passed = done * method.rounds + 1
            origins = numbered_origins(len(truth), first)
            c = comparison
            y = simulated(all_views, truth, c.tilt_noise, c.seed, origins, c.simulate)
            problem = replace(
                _problem(a, y[:, kept], denoise, restore, comparison, origins, method),
                progress=lambda n, _, passed=passed: step(passed + n),
            )
            start = time.perf_counter()
            with torch.no_grad():
                x = method.sample(problem)[0]
            x = x.cpu()  # waits for a GPU
            seconds += time.perf_counter() - start
            step((done + 1) * method.rounds)
            shown.append(x)
            scores["mse"] += metrics.mse(x, truth.cpu()).tolist()
            scores["ssim"] += metrics.ssim(x, truth.cpu()).tolist()
            ax = all_views.forward(x.to(device))
            for name, views in (("residual", kept), ("held_out", out)):
                if views:
                    part = ax[:, views], y[:, views]
                    scores[name] += metrics.data_residual(*part, c.tilt_noise).tolist()
    cost = {"seconds": seconds / len(patches), "bytes": _peak(device)}  # before the scores below
    found, true = torch.cat(shown), patches.cpu()
    if split and not isinstance(a, Spectral):
        a = DenseProjector(a.geometry, device=device)
    wrong = _parts(a, found - true, comparison)
    spectrum = spectrum_distance(radial_power(found.numpy()), radial_power(true.numpy()))
    pixels = {k: float(v) for k, v in resolutions(found, true, pixel_nm=1.0).items()}
    return Result(**scores, **wrong, spectrum=spectrum, **pixels, **cost), found[:SHOWN].numpy()


def _parts(a: Projector, error: Tensor, comparison: ComparisonSettings) -> dict[str, list[float]]:
    """Energies of each error's part in measured directions, and of the rest."""
    energies: dict[str, list[float]] = {"contradicted": [], "invented": []}
    if isinstance(a, Spectral):
        for part in error.to(default_device()).split(comparison.batch):
            seen = measured_part(a, part, comparison.tilt_noise)
            for name, side in (("contradicted", seen), ("invented", part - seen)):
                energies[name] += side.square().mean(dim=(1, 2)).tolist()
    return energies


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
    a: Projector,
    y: Tensor,
    denoise: NetworkDenoiser,
    restore: NetworkDenoiser | None,
    comparison: ComparisonSettings,
    origins: Sequence[SliceOrigin],
    method: Method,
) -> Problem:
    shape = a.geometry.thickness, a.geometry.width
    draws = NoiseField(comparison.seed + method.noise_seed, "sampler")

    def noise(n: int) -> Tensor:
        return draws.batch(shape, origins, n).to(y)

    return Problem(a, y, denoise, noise, comparison.tilt_noise, restore=restore)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return peak_bytes()
