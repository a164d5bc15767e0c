"""What a plan will cost: bytes to fetch and write, memory of a worker, time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
import torch

from ddgm_core import gpu
from ddgm_core.denoiser import default_device
from ddgm_core.metrics import SSIM_GROUP, SSIM_MAPS
from ddgm_core.tiling import tile_starts, whole_sides
from pipeline.method import Ddgm, Ddx
from pipeline.plan import Plan, PlanError
from pipeline.solver import resident_prior, resident_solver
from pipeline.source import Triple
from pipeline.spec import Spec
from workers.clusters import Local
from workers.fleet import Fleet

SAMPLED_BLOCKS = 64  # looked at to count source chunks; blocks repeat
# Python with torch, cloud-volume and Dask, 0.27 GB at its start, and what stays of what a run
# loads: so, runs of 6 and of 3,000 blocks hold about what is planned (measured: end_to_end)
PROCESS_BYTES = 600_000_000
# stacks of a block's slices in float32, one for each layer beside them: five are kept, others come
# and go, and malloc finds no room for new ones where these were (measured: 69 bytes a pixel in all)
STACKS = 13
FLOAT = 4
SHARE = 0.9  # of its memory limit that a worker may use; Dask restarts it at 95 %


@dataclass(frozen=True)
class Fetch:
    """Source bytes, before the source's own compression.

    Attributes:
        needed: bytes of the voxels themselves.
        touched: bytes of all chunks that are read for them, block by block.
    """

    needed: int
    touched: int


@dataclass(frozen=True)
class Memory:
    """Bytes that a worker holds at its peak, by what holds them."""

    process: int
    network: int
    projector: int
    block: int
    batch: int

    @property
    def total(self) -> int:
        """All of them together."""
        return self.process + self.network + self.projector + self.block + self.batch


@dataclass(frozen=True)
class Time:
    """Seconds, from one timed call of each kind on this machine.

    Attributes:
        network_call: one call of the network, as many `Images` as go to it.
        data_step: K gradient steps for one batch of slices.
        slice: reconstructing one slice.
        run: the whole run, on the spec's local workers or one worker. The method alone: fetching,
            simulating, the algebraic baseline, scoring and writing come on top.
    """

    network_call: float
    data_step: float
    slice: float
    run: float


def fetch_bytes(plan: Plan) -> Fetch:
    """Bytes to fetch, with what chunks that blocks cut through cost."""
    info = plan.info
    item = np.dtype(info.dtype).itemsize
    count = plan.block_count
    step = max(1, count // SAMPLED_BLOCKS)
    sample = [plan.block(i).box for i in range(0, count, step)]
    voxels = sum(_volume(b.shape) for b in sample)
    chunk = _volume(info.chunk_shape)
    touched = sum(sum(1 for _ in b.parts(info.bounds.start, info.chunk_shape)) for b in sample)
    needed = plan.slice_count * plan.geometry.thickness * plan.geometry.width * item
    return Fetch(needed, int(needed * touched * chunk / voxels))


def worker_memory(plan: Plan, network: bool = True) -> Memory:
    """Peak memory of one worker, which holds one block and has the next one fetched.

    Args:
        network: whether it runs the network, too.
    """
    g, spec = plan.geometry, plan.spec
    card = resident_prior(spec.prior).card
    pixels, measured = g.thickness * g.width, g.views * g.bins
    voxel = np.dtype(plan.info.dtype).itemsize
    stacks = STACKS + sum(layer in spec.output.layers for layer in ("algebraic", "measured"))
    # sets of feature maps at the finest level alive at once: 9 to 12 (measured, batches of 16, 48)
    images = network_images(plan)
    activations = 12 * images.batch * card.architecture.width * images.pixels * FLOAT
    frequencies = g.bins // 2 + 1
    if g.detector == "lateral":
        maps = 2 if "algebraic" in spec.output.layers else 1  # each is P and its series
        paired = np.allclose(g.angles, [-angle for angle in reversed(g.angles)])  # then all real
        numbers = (1 + 2 * maps) * frequencies * g.thickness**2  # with the eigenvectors
        steps = numbers * FLOAT * (1 if paired else 2)
        # A, and its adjoint while it is multiplied with
        projector = 2 * frequencies * g.views * g.thickness * 2 * FLOAT + steps
    else:
        projector = 2 * measured * 2 * g.thickness * 2 * FLOAT  # A and its transpose, two
    return Memory(  # entries per ray and row, each a value and an index
        process=PROCESS_BYTES,
        network=activations if network else 0,
        projector=projector,
        block=spec.block.slices * (pixels * (stacks * FLOAT + 4 + voxel) + 2 * measured * FLOAT),
        batch=max(
            spec.block.batch * (6 * pixels + 4 * measured) * FLOAT,
            SSIM_GROUP * SSIM_MAPS * pixels * FLOAT,  # scored when no batch is there
        ),
    )


def slices_that_fit(plan: Plan, limit: int, network: bool = True) -> int:
    """The most slices to a block that a worker of this memory holds; 0 if not even a batch."""
    memory = worker_memory(plan, network)
    per_slice = memory.block // plan.spec.block.slices
    room = (int(SHARE * limit) - memory.total + memory.block) // per_slice
    return max(0, room // plan.spec.block.batch * plan.spec.block.batch)


def check_room(plan: Plan, fleet: Fleet, placement: str) -> None:
    """Whether every worker can hold a block, before any is begun.

    Raises:
        PlanError: one cannot.
    """
    for member in fleet.members.values():
        runs_network = placement == "here" or (member.pool and placement == "whole")
        if member.pool and placement == "calls":
            continue  # it holds the network and its batches alone
        if member.memory:
            check_fits(plan, member.memory, f"worker {member.name}", runs_network)


def check_fits(plan: Plan, limit: int, who: str, network: bool = True) -> None:
    """Whether a worker of this memory can hold a block.

    Raises:
        PlanError: it cannot.
    """
    need = worker_memory(plan, network).total
    if need <= SHARE * limit:
        return
    slices = slices_that_fit(plan, limit, network)
    remedy = f"{slices} fit" if slices else "not even one batch fits: lower block.batch as well"
    raise PlanError(
        f"block.slices: {plan.spec.block.slices} need {need / 1e9:.2f} GB, and {who} has "
        f"{limit / 1e9:.2f} GB, of which {SHARE:.0%} are used; {remedy}, or give it more memory"
    )


@dataclass(frozen=True)
class Images:
    """What the network is called with.

    Attributes:
        height, width: of an image, in pixels.
        per_slice: images that one slice makes at one noise level.
        batch: images to a call.
    """

    height: int
    width: int
    per_slice: int
    batch: int

    @property
    def pixels(self) -> int:
        """Of an image."""
        return self.height * self.width


def network_images(plan: Plan) -> Images:
    """Patches, or whole slices, as the spec wants."""
    card, prior, g = resident_prior(plan.spec.prior).card, plan.spec.prior, plan.geometry
    if prior.tiling == "rows":
        return Images(*whole_sides(g.thickness, g.width, card.architecture.multiple), 1, 1)
    sides = (max(n, card.patch) for n in (g.thickness, g.width))
    rows, columns = (len(tile_starts(n, card.patch, prior.stride)) for n in sides)
    return Images(card.patch, card.patch, rows * columns, prior.batch)


def batch_fill(plan: Plan) -> tuple[float, int]:
    """Share of the network's batches that are images, and the slices whose images fill them.

    A batch of slices sends all of its images at each noise level; the last network batch is
    padded. With `calls`, the pool fills batches with images of other callers.
    """
    images = network_images(plan)
    sent = images.per_slice * plan.spec.block.batch
    fill = sent / (-(-sent // images.batch) * images.batch)
    return fill, images.batch // gcd(images.per_slice, images.batch)


@torch.inference_mode()
def calibrate(plan: Plan, calls: bool = False) -> Time:
    """Time one network call and one data step here, and scale them to the run.

    A network in float8 is timed in bfloat16 where this machine has none.

    Args:
        calls: whether the pool's workers are asked for the network's; for Dask tasks.
    """
    if not (calls or gpu.runs(plan.spec.prior.precision, default_device())):
        plan = replace(plan, spec=_without_float8(plan.spec))
    spec, g = plan.spec, plan.geometry
    prior = resident_prior(spec.prior)
    solver = resident_solver(plan, prior.digest, calls)
    torch.set_num_threads(spec.cluster.threads)
    x = torch.zeros(spec.block.batch, g.thickness, g.width, device=solver.device)
    y = torch.zeros(spec.block.batch, g.views, g.bins, device=solver.device)
    data_step = solver.data_step(y, sigma=1.0)
    data = _seconds(lambda: data_step(x))
    diffuses = isinstance(spec.method, Ddgm | Ddx)
    rounds, images = 1, network_images(plan)
    if isinstance(spec.method, Ddgm | Ddx):
        rounds = spec.method.steps * spec.method.samples
    network = 0.0
    if diffuses:
        x = torch.randn(images.batch, 1, images.height, images.width, device=solver.device)
        network = _seconds(lambda: solver.denoise(x))
    batches = -(-images.per_slice * spec.block.batch // images.batch)
    per_slice = rounds * (data + batches * network) / spec.block.batch
    workers = spec.cluster.workers if isinstance(spec.cluster, Local) else 1
    blocks_each = -(-plan.block_count // workers)
    slices = min(blocks_each * spec.block.slices, plan.slice_count)
    return Time(network, data, per_slice, slices * per_slice)


def _without_float8(spec: Spec) -> Spec:
    if spec.prior.precision != "float8":
        return spec
    prior = spec.prior.model_copy(update={"precision": "bfloat16"})
    return spec.model_copy(update={"prior": prior})


def _seconds(work: Callable[[], object]) -> float:
    """Of one call, the better of two after one to warm up."""

    def whole() -> None:
        work()
        if torch.cuda.is_available():  # calls of a GPU return before they have ended
            torch.cuda.synchronize()

    whole()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        whole()
        times.append(time.perf_counter() - start)
    return min(times)


def _volume(shape: Triple) -> int:
    z, y, x = shape
    return z * y * x
