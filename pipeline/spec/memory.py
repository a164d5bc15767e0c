"""Cost of a plan: bytes to fetch and write, and memory of a worker."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil, gcd, tan

import numpy as np

from ddgm.core.metrics.scores import SSIM_GROUP, SSIM_MAPS
from ddgm.core.networks.prior import read_card
from ddgm.core.networks.tiling import tile_starts, whole_sides
from ddgm.pipeline.spec.cost.fetch import cache_bytes
from ddgm.pipeline.spec.output import SPECTRAL
from ddgm.pipeline.spec.plan import Plan, PlanError
from ddgm.pipeline.volumes.box import Triple
from ddgm.pipeline.volumes.volume import VolumeInfo

# Python with torch, cloud-volume and Dask, 0.27 GB at its start, and what stays of what a run
# loads: so, runs of 6 and of 3,000 blocks hold about what is planned (measured: end_to_end)
PROCESS_BYTES = 600_000_000

# stacks of a block's slices in float32, one for each layer beside them: five are kept, others come
# and go, and malloc finds no room for new ones where these were (measured: 69 bytes a pixel in all)
STACKS = 13
FLOAT = 4
MOST_SLICES = 2**16  # of a block that a spec can ask for
LOW_COST = 1.4  # of a method that couples slices, up to which a length of block is proposed
SHARE = 0.9  # of its memory limit that a worker may use; Dask restarts it at 95 %


@dataclass(frozen=True)
class Memory:
    """Bytes that a worker holds at its peak, by what holds them."""

    process: int
    network: int
    projector: int
    block: int
    batch: int
    chunks: int

    @property
    def total(self) -> int:
        """All of them together."""
        return self.process + self.network + self.projector + self.block + self.batch + self.chunks


def worker_memory(plan: Plan, network: bool = True) -> Memory:
    """Peak memory of one worker, which holds one block and has the next one fetched.

    Args:
        network: whether it runs the network, too.
    """
    g, spec = plan.solved, plan.spec
    card = read_card(spec.prior.weights)
    pixels, measured = g.thickness * g.width, g.views * g.bins
    voxel = np.dtype(plan.info.dtype).itemsize + _resampling_bytes(plan.info)
    kept = "algebraic", *SPECTRAL
    stacks = STACKS + sum(layer in spec.output.layers for layer in kept)
    # sets of feature maps at the finest level alive at once: 9 to 12 (measured, batches of 16, 48)
    images = network_batch(plan)
    maps = card.architecture.width / card.architecture.unshuffle**2  # by pixel of the image
    activations = round(12 * images.batch * maps * images.pixels * FLOAT)
    stacks_bytes = pixels * (stacks * FLOAT + 4 + voxel) + 2 * measured * FLOAT
    at_once = plan.block_slices if spec.method.couples_slices else spec.block.batch
    slices = max(spec.block.slices, plan.block_slices)
    scored = max(pixels, spec.block.slices * max(g.thickness, g.width))  # of an image of any plane
    frequencies = g.bins // 2 + 1
    if g.detector == "lateral":
        maps = 2 if "algebraic" in spec.output.layers else 1  # each is P and its series
        numbers = (1 + 2 * maps) * frequencies * g.thickness**2  # with the eigenvectors
        steps = numbers * FLOAT * (1 if g.is_paired else 2)  # then all are real
        # A, and its adjoint while it is multiplied with
        projector = 2 * frequencies * g.views * g.thickness * 2 * FLOAT + steps
    else:
        # A and its transpose: two entries for each row, or for each column where there are more,
        # that a beam crosses, each a value and an index
        crossed = (min(g.width, g.thickness * abs(tan(a))) for a in g.pixel_angles)
        entries = 2 * g.bins * sum(max(g.thickness, int(columns)) for columns in crossed)
        projector = 2 * entries * 2 * FLOAT
    if spec.tilts.hold_out:  # there is one of all views, too
        projector *= 2
    return Memory(
        process=PROCESS_BYTES,
        network=activations if network else 0,
        projector=projector,
        block=slices * stacks_bytes,
        batch=max(
            at_once * (6 * pixels + 4 * measured) * FLOAT,
            SSIM_GROUP * SSIM_MAPS * scored * FLOAT,  # scored when no batch is there
        ),
        chunks=cache_bytes(plan),
    )


def slices_that_fit(plan: Plan, limit: int, network: bool = True) -> int:
    """The most slices to a block that a worker of this memory holds; 0 if not even a batch."""
    batch = plan.spec.block.batch

    def needed(batches: int) -> int:
        return worker_memory(with_slices(plan, batches * batch), network).total

    fit = range(1, MOST_SLICES // batch + 1)
    return batch * bisect_right(fit, SHARE * limit, key=needed)


def with_slices(plan: Plan, slices: int) -> Plan:
    """The plan with blocks of so many slices."""
    block = plan.spec.block.model_copy(update={"slices": slices})
    return Plan(plan.spec.model_copy(update={"block": block}), plan.info)


def fits(plan: Plan, limit: int, network: bool = True) -> bool:
    """True if a worker of this memory can hold a block."""
    return worker_memory(plan, network).total <= SHARE * limit


def check_fits(plan: Plan, limit: int, who: str, network: bool = True) -> None:
    """Check that a worker of this memory can hold a block.

    Raises:
        PlanError: it cannot.
    """
    if fits(plan, limit, network):
        return
    need = worker_memory(plan, network).total
    slices = slices_that_fit(plan, limit, network)
    remedy = f"{slices} fit" if slices else "not even one batch fits: lower block.batch as well"
    raise PlanError(
        f"block.slices: {plan.spec.block.slices} need {need / 1e9:.2f} GB, and {who} has "
        f"{limit / 1e9:.2f} GB, of which {SHARE:.0%} are used; {remedy}, or give it more memory"
    )


@dataclass(frozen=True)
class NetworkBatch:
    """Batches that the network is called with.

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
        """Pixels of an image."""
        return self.height * self.width


def network_batch(plan: Plan) -> NetworkBatch:
    """Patches, or whole slices, as the spec wants."""
    return _images(plan, plan.geometry.thickness)


def _images(plan: Plan, height: int) -> NetworkBatch:
    """Images of this height, as wide as the slices, that go through the network."""
    card, prior, width = read_card(plan.spec.prior.weights), plan.spec.prior, plan.solved.width
    if prior.tiling == "rows":
        sides = whole_sides(height, width, card.architecture.multiple)
        return NetworkBatch(*sides, 1, prior.images_per_call)
    rows, columns = (
        len(tile_starts(max(n, card.patch), card.patch, prior.stride)) for n in (height, width)
    )
    return NetworkBatch(card.patch, card.patch, rows * columns, prior.images_per_call)


def coupling_cost(plan: Plan) -> float:
    """Pixels that go through the network for a full block, over those of its slices alone.

    More than 1 where the method couples slices, by the halo and the overlap of the tiles across it.
    """
    planes = plan.spec.method.planes_of_levels
    if not plan.spec.method.couples_slices:
        return 1.0
    alone, across = network_batch(plan), _images(plan, plan.block_slices)
    pixels = {
        "slice": plan.block_slices * alone.per_slice * alone.pixels,
        "across": plan.geometry.thickness * across.per_slice * across.pixels,
    }
    own = min(plan.spec.block.slices, plan.slices) * alone.per_slice * alone.pixels
    return sum(pixels[plane] for plane in planes) / (len(planes) * own)


def cheap_slices(plan: Plan, most: int) -> int:
    """The fewest slices to a block, `most` at most, that keep `coupling_cost` low; 0 if none do."""
    batch, whole = plan.spec.block.batch, ceil(plan.slices / plan.spec.block.batch)
    least = ceil(max(plan.halo, 1) / batch)  # a halo is no longer than its block
    lengths = (batch * n for n in range(least, min(most // batch, whole) + 1))
    return next((n for n in lengths if coupling_cost(with_slices(plan, n)) <= LOW_COST), 0)


def batch_fill(plan: Plan) -> tuple[float, int]:
    """Share of the network's batches that are images, and the slices whose images fill them.

    A batch of slices sends all of its images at each noise level; the last network batch is
    padded. With `calls`, the pool fills batches with images of other callers.
    """
    images = network_batch(plan)
    sent = images.per_slice * plan.spec.block.batch
    fill = sent / (-(-sent // images.batch) * images.batch)
    return fill, images.batch // gcd(images.per_slice, images.batch)


def _resampling_bytes(info: VolumeInfo) -> int:
    """Bytes for each voxel of a block while it is resampled: none unless it is."""
    if info.stored_size_nm is None:
        return 0
    item, stored = np.dtype(info.dtype).itemsize, info.stored_voxels
    working = FLOAT if item <= 2 or info.dtype == "float32" else 2 * FLOAT
    ratios = [new / old for new, old in zip(info.voxel_size_nm, info.stored_size_nm, strict=True)]
    first = stored / max(*ratios, 1)  # left after the coarsest axis; finer ones end at 1 at most
    # what is read, as it is and in floating point, and a step's sum, its last term and its next
    return ceil(stored * (item + working) + 3 * working * max(first, 1))


def _volume(shape: Triple) -> int:
    z, y, x = shape
    return z * y * x
