"""The way of one block: fetch, simulate, reconstruct, score, write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from ddgm_core.errors import DdgmError
from pipeline.code import code_digest
from pipeline.ledger import Record
from pipeline.plan import Block, Plan
from pipeline.solver import Solver, resident_prior, resident_solver
from pipeline.source import Cutout, Volume
from pipeline.spec import Layer, Spec
from pipeline.store import RunStore
from workers.resident import resident


class NumericalError(DdgmError):
    """A reconstruction that is not made of finite numbers."""


class CodeError(DdgmError):
    """A worker that would compute something else than the driver means."""


@dataclass(frozen=True)
class Job:
    """What every task of a run is told; small, and the same for all blocks.

    Attributes:
        plan: spec and volume.
        root: the run's folder.
        digest: of spec, code and weights; stamped on every record.
        weights_digest: SHA-256 of the weights, so that a worker refuses any others.
        code: hash of the driver's code, so that a worker with another version refuses.
    """

    plan: Plan
    root: str
    digest: str
    weights_digest: str
    code: str


@dataclass(frozen=True)
class Grey:
    """The linear map between grey levels and the network's normalised units."""

    mean: float
    std: float

    def normalised(self, grey: np.ndarray) -> Tensor:
        return torch.from_numpy((grey.astype(np.float32) - self.mean) / self.std)

    def grey(self, x: Tensor, dtype: str) -> np.ndarray:
        """Back to grey levels; integers are rounded, and clipped to what they can hold."""
        levels = x.numpy() * np.float32(self.std) + np.float32(self.mean)
        if dtype == "float32":
            return levels.astype(np.float32)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(levels), limits.min, limits.max).astype(dtype)


def grey_scale(plan: Plan, weights_digest: str) -> Grey:
    """What normalises the volume: the spec's intensity, or else the prior's."""
    chosen = plan.spec.source.intensity
    card = resident_prior(plan.spec.prior, weights_digest).card
    return Grey(chosen.mean, chosen.std) if chosen else Grey(card.mean, card.std)


def source_volume(spec: Spec) -> Volume:
    """The spec's volume, with its policy for missing chunks; opened once per process."""
    s = spec.source
    missing = None if s.missing == "error" else s.missing
    return resident(("volume", s.url, s.mip, missing), lambda: Volume(s.url, s.mip, missing))


def fetch(plan: Plan, block: Block) -> Cutout:
    """A block's voxels as a stack of slices, (n, thickness, width), in grey levels.

    Raises:
        SourceError: they cannot be read.
    """
    cutout = source_volume(plan.spec).read(block.box)
    return Cutout(cutout.data.transpose(plan.axes), cutout.missing_voxels)


def layers_of(plan: Plan, grey: Grey, stacks: dict[Layer, Tensor]) -> dict[Layer, np.ndarray]:
    """Slice stacks as the layers that the spec wants written, each in its array's axes."""
    back = np.argsort(plan.axes)
    output = plan.spec.output

    def image(layer: Layer) -> np.ndarray:
        if layer == "measured":  # a share
            return stacks[layer].numpy()
        if layer == "spread":  # a difference of grey levels
            return stacks[layer].numpy() * np.float32(grey.std)
        return grey.grey(stacks[layer], output.dtype)

    return {
        layer: stacks[layer].numpy()[None]
        if layer == "sinogram"
        else np.ascontiguousarray(image(layer).transpose(back))
        for layer in output.layers
    }


def score(solver: Solver, block: Block, stacks: dict[Layer, Tensor]) -> list[dict[str, float]]:
    """Metrics of each slice: `slice` (its voxel along the tilt axis), mse, ssim, residual, seam,
    and the algebraic reconstruction's, prefixed, where there is one. What is no number, as the
    seam energy of a constant slice, is left out."""
    truth, y = stacks["truth"], stacks["sinogram"]
    columns = solver.score(stacks["reconstruction"], truth, y)
    if "algebraic" in stacks:
        columns |= {
            f"algebraic_{k}": v for k, v in solver.score(stacks["algebraic"], truth, y).items()
        }
    rows = zip(*(v.tolist() for v in columns.values()), strict=True)
    return [
        {"slice": place[2], **{k: v for k, v in zip(columns, row, strict=True) if isfinite(v)}}
        for place, row in zip(block.places, rows, strict=True)
    ]


def run_block(job: Job, index: int, attempt: int = 1) -> Record:
    """All stages of one block, its data in place first and then its record, which is returned.

    Raises:
        DdgmError: what a user can mend: the source, the weights, the step, the output.
        NumericalError: the result is not finite.
    """
    if code_digest() != job.code:
        raise CodeError(
            f"cluster: {worker_name()} has another version of ddgm than the one that started the "
            "run; install the same on all machines"
        )
    torch.set_num_threads(job.plan.spec.cluster.threads)  # nannies set it to 1
    plan, block, clock = job.plan, job.plan.block(index), Clock()
    with clock("load"):
        solver = resident_solver(plan, job.weights_digest)
        grey = grey_scale(plan, job.weights_digest)
    with clock("fetch"):
        cutout = fetch(plan, block)
    with clock("simulate"):
        truth = grey.normalised(cutout.data)
        stacks: dict[Layer, Tensor] = {"truth": truth}
        stacks["sinogram"] = solver.simulate(truth, block.places)
    with clock("reconstruct"):
        pair = solver.sample(stacks["sinogram"], block.places)
        stacks["reconstruction"], stacks["spread"] = pair
    if not torch.isfinite(stacks["reconstruction"]).all():
        raise NumericalError(
            f"block {index}: the reconstruction is not finite; check method.step and method.sigma"
        )
    if "algebraic" in plan.spec.output.layers:
        with clock("algebraic"):
            stacks["algebraic"] = solver.algebraic(stacks["sinogram"], block.places)
    if "measured" in plan.spec.output.layers:
        with clock("measured"):
            stacks["measured"] = solver.measured(stacks["reconstruction"])
    with clock("score"):
        metrics = score(solver, block, stacks)
    store = RunStore(job.root)
    with clock("write"):
        checksums = store.write(plan, block, layers_of(plan, grey, stacks))
    record = Record(
        block=index,
        digest=job.digest,
        state="done",
        attempts=attempt,
        checksums=checksums,
        missing_voxels=cutout.missing_voxels,
        metrics=metrics,
        seconds=clock.seconds,
        worker=worker_name(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.put(record)
    return record


class Clock:
    """Seconds spent under each name: `with clock("fetch"): …`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)


def worker_name() -> str:
    """This process's name in the cluster, or its host and number."""
    import os
    import socket

    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:
        return f"{socket.gethostname()}-{os.getpid()}"
