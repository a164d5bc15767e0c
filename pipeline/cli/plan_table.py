"""A plan as a table for the terminal."""

from __future__ import annotations

from dask.utils import parse_bytes
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from ddgm.core.networks.prior import read_card
from ddgm.pipeline.block.timing import RunTime, time_calls
from ddgm.pipeline.spec.layout import layer_bytes, layout_of
from ddgm.pipeline.spec.levels import Pyramid, bytes_to_write, level_bytes
from ddgm.pipeline.spec.memory import (
    LOW_COST,
    MOST_SLICES,
    batch_fill,
    cheap_slices,
    coupling_cost,
    fetch_bytes,
    network_batch,
    slices_that_fit,
    with_slices,
    worker_memory,
)
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, make_plan, source_volume
from ddgm.pipeline.terminal import Row, duration, table
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import SourceError, VolumeInfo
from ddgm.workers.specs import Local

FULL = 0.95  # share of the network's batches from which on they count as full


def plan_table(spec: Spec, timed: bool, console: Console) -> Table:
    """Table of what a run would do and cost.

    Raises:
        DdgmError: the spec does not fit its volume, or the prior is not there.
    """
    info = _info_or_assumed(spec, console)
    plan = make_plan(spec, info)
    rows = [*_shape_rows(plan), *_cost_rows(plan)]
    if timed:
        with console.status("timing a network call and a data step"):
            cost = time_calls(plan)
        rows += _time_rows(plan, cost)
    return table("plan", rows)


def _info_or_assumed(spec: Spec, console: Console) -> VolumeInfo:
    """Metadata of the volume; where it cannot be read, as the spec implies it."""
    try:
        with console.status("asking the source"):
            return source_volume(spec).info
    except SourceError as error:
        box = spec.source.box
        if error.kind not in ("unreachable", "credentials") or box is None:
            raise
        console.print("the source does not answer; assuming uint8, chunks of 64³, box in bounds")
        start, stop = (tuple(box[a][end] for a in ("z", "y", "x")) for end in (0, 1))
        side = read_card(spec.prior.weights).voxel_size_nm
        bounds = Box(start, stop)  # type: ignore[arg-type]
        size = spec.source.size_nm or (side, side, side)
        return VolumeInfo(bounds, size, "uint8", (64, 64, 64), 1, spec.source.mip)


def _shape_rows(plan: Plan) -> list[Row]:
    g, spec = plan.geometry, plan.spec
    left = ", ".join(f"{n} voxels along {a}" for a, n in plan.uncovered.items())
    sides = " x ".join(f"{s:g}" for s in plan.info.voxel_size_nm)
    voxel = read_card(spec.prior.weights).voxel_size_nm
    odd = "" if set(plan.info.voxel_size_nm) == {voxel} else f"; the prior was trained at {voxel:g}"
    if plan.info.stored_size_nm:
        sides += f" nm, resampled from {' x '.join(f'{s:g}' for s in plan.info.stored_size_nm)}"
    odd += "; a run is refused without prior.any_voxel_size: true" if plan.refuses_prior else ""
    pixel = "" if plan.aspect == 1 else " pixels of {:g} x {:g} nm".format(*plan.sides_nm)
    images = network_batch(plan)
    return [
        ("source", f"{spec.source.url}, mip {plan.info.mip}"),
        ("box", str(plan.box)),
        ("left over", left or "nothing"),
        ("voxel (z, y, x)", f"{sides} nm{odd}"),
        ("slabs", f"{len(plan.slabs)} of {plan.grid[0]} x {plan.grid[1]} (thickness x width)"),
        ("slices", f"{plan.slice_count} of {g.thickness} x {g.width}{pixel}"),
        ("views", f"{g.views}, {g.bins} bins, {g.detector} detector"),
        ("blocks", f"{plan.block_count} of {spec.block.slices} slices"),
        *_halo_rows(plan),
        (
            "network images",
            f"{images.per_slice} of {images.height} x {images.width} a slice at each noise level; "
            f"{_fill(plan)}",
        ),
        (
            "shard, chunk (z, y, x)",
            f"{_by(plan.shard)}, {_by(layout_of(plan, 'reconstruction').chunks)}",
        ),
    ]


def _halo_rows(plan: Plan) -> list[Row]:
    """Lines on what it costs that the method couples slices, and which blocks would cost less."""
    if not plan.spec.method.couples_slices:
        return []
    cost, patch = coupling_cost(plan), read_card(plan.spec.prior.weights).patch
    work = f"{plan.halo} slices on either side; the network's work is {cost:.2f} x"
    rows = [("halo", f"{work} that of the slices alone{_cheaper_blocks(plan, cost)}")]
    if plan.shortest_stack < patch and plan.spec.prior.tiling == "tiles":
        continued = f"{plan.shortest_stack} slices or more, continued to {patch} by reflection"
        rows.append(("stack across the beam", continued))
    return rows


def _cheaper_blocks(plan: Plan, cost: float) -> str:
    """Which blocks would cost less, where these cost much."""
    if cost <= LOW_COST:
        return ""
    limit, fit = _worker_limit(plan), MOST_SLICES
    if limit is not None:
        fit = slices_that_fit(plan, *limit)
    low = f"at most {LOW_COST:g} x"
    if slices := cheap_slices(plan, fit):
        memory = decimal(worker_memory(with_slices(plan, slices)).total)
        return f"; block.slices: {slices} makes it {low}, with {memory} to a worker"
    if slices := cheap_slices(plan, MOST_SLICES):
        return f"; {low} needs block.slices: {slices}, and {fit} fit: raise cluster.memory"
    return (
        f"; no block of {plan.slices} slices or fewer makes it {low}: lower block.halo, or leave "
        "method.planes out"
    )


def _worker_limit(plan: Plan) -> tuple[int, bool] | None:
    """Memory of a worker where the spec says it, and whether it runs the network, too."""
    cluster, pool = plan.spec.cluster, plan.spec.pool
    if not isinstance(cluster, Local):
        return None
    return parse_bytes(cluster.memory), not (pool.workers or pool.placement)


def _fill(plan: Plan) -> str:
    """Line on how full the network's batches are, and what would fill them."""
    fill, filling = batch_fill(plan)
    size = f"batches of {network_batch(plan).batch}, {fill:.0%} full"
    better = fill < FULL
    return f"{size}: block.batch {filling} or a multiple of it fills them" if better else size


def _cost_rows(plan: Plan) -> list[Row]:
    fetch, memory = fetch_bytes(plan), worker_memory(plan)
    layers = ", ".join(f"{n} {decimal(layer_bytes(plan, n))}" for n in plan.spec.output.layers)
    parts = ", ".join(
        f"{name} {decimal(getattr(memory, name))}"
        for name in ("process", "network", "projector", "block", "batch")
    )
    misaligned = f"{fetch.touched / fetch.needed:.2f} x what is used, as chunks are cut by blocks"
    return [
        ("to fetch, uncompressed", f"{decimal(fetch.touched)}: {misaligned}"),
        ("to write, uncompressed", f"{decimal(bytes_to_write(plan))}: {layers}{_coarser(plan)}"),
        ("memory of a worker", f"{decimal(memory.total)}: {parts}"),
        *_room_rows(plan),
    ]


def _coarser(plan: Plan) -> str:
    """What the coarser levels add to the layers."""
    pyramid = Pyramid(plan)
    last = pyramid.levels[-1]
    if not last.number:
        return ""
    more, files = decimal(level_bytes(plan)), pyramid.count * len(pyramid.layers)
    return f"; {last.number} coarser levels, down to {_by(last.shape)}: {more} in {files} files"


def _time_rows(plan: Plan, cost: RunTime) -> list[Row]:
    spec = plan.spec
    rows = [
        ("network call", f"{cost.network_call * 1e3:.0f} ms for {network_batch(plan).batch}"),
        ("data step", f"{cost.data_step * 1e3:.0f} ms for {spec.block.batch} slices"),
    ]
    whole, each = duration(cost.run), f"{cost.slice:.2f} s a slice"
    if isinstance(spec.cluster, Local):
        return [*rows, ("time, as on this machine", f"{whole} ({each})")]
    block = duration(cost.slice * spec.block.slices)
    here = f"{block} ({each}), {whole} for all blocks with one such worker; a run times its own"
    return [*rows, ("time of a block, as on this machine", here)]


def _room_rows(plan: Plan) -> list[Row]:
    """Line on whether a local cluster's workers can hold such blocks, and which they could hold."""
    if (limit := _worker_limit(plan)) is None:
        return []
    assert isinstance(plan.spec.cluster, Local)
    slices, memory = slices_that_fit(plan, *limit), plan.spec.cluster.memory
    fits = slices >= plan.spec.block.slices
    remedy = f"at most {slices} slices do; lower block.slices" if slices else "no block does"
    return [(f"fits into {memory}", "yes" if fits else f"NO: {remedy}, or raise memory")]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
