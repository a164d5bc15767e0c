"""A plan as lines for the terminal, and as facts for programs."""

from __future__ import annotations

from dataclasses import asdict

from dask.utils import parse_bytes
from rich.console import Console
from rich.filesize import decimal

from ddgm.core.networks.prior import read_card
from ddgm.pipeline.block.timing import RunTime, time_calls
from ddgm.pipeline.cli.shown.price_rows import price_rows
from ddgm.pipeline.cli.shown.sizing import size_rows
from ddgm.pipeline.cli.shown.source_rows import info_or_assumed, source_row, views_row
from ddgm.pipeline.progress_bar import ProgressBar
from ddgm.pipeline.run.preflight import check_card
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.layout import layer_bytes, layout_of
from ddgm.pipeline.spec.levels import Pyramid, bytes_to_write, copy_bytes, level_bytes
from ddgm.pipeline.spec.memory import (
    LOW_COST,
    MOST_SLICES,
    batch_fill,
    cheap_slices,
    check_fits,
    coupling_cost,
    fits,
    network_batch,
    slices_that_fit,
    with_slices,
    worker_memory,
)
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.terminal import Row, duration, plural
from ddgm.workers.specs import Local

FULL = 0.95  # share of the network's batches from which on they count as full


def plan_or_assumed(spec: Spec, console: Console) -> tuple[Plan, bool]:
    """The plan of a spec, and whether its source answers; if not, the spec's box says enough.

    Raises:
        DdgmError: the spec does not fit its volume, or the prior is not there.
    """
    info, answered = info_or_assumed(spec, console)
    return make_plan(spec, info), answered


def check_runs(plan: Plan) -> None:
    """Check what can be known of a run without its blocks, its output and its workers.

    Raises:
        PriorError: the prior was trained for something else.
        PlanError: a block is too large for the memory that the spec gives a worker.
    """
    check_card(plan)
    if (limit := _worker_limit(plan)) is not None:
        memory, network = limit
        check_fits(plan, memory, "a worker", network)


def plan_rows(plan: Plan, answered: bool, timed: bool, console: Console) -> list[Row]:
    """Lines on what a run would do and cost."""
    rows = [source_row(plan, answered), *_shape_rows(plan), *_cost_rows(plan)]
    if timed:
        with ProgressBar(console, "timing"):
            cost = time_calls(plan)
        rows += [*_time_rows(plan, cost), *price_rows(plan, cost)]
    return rows


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
    chunk = layout_of(plan, "reconstruction").chunks
    return [
        Row(
            "box",
            str(plan.box),
            {"box_zyx_start": plan.box.start, "box_zyx_stop": plan.box.stop},
        ),
        Row("left over", left or "nothing", {"left_over_voxels": plan.uncovered}),
        Row(
            "voxel (z, y, x)",
            f"{sides} nm{odd}",
            {
                "voxel_zyx_nm": plan.info.voxel_size_nm,
                "stored_voxel_zyx_nm": plan.info.stored_size_nm,
                "prior_voxel_nm": voxel,
            },
        ),
        Row(
            "slabs",
            f"{len(plan.slabs)} of {plan.grid[0]} x {plan.grid[1]} (thickness x width)",
            {"slabs": len(plan.slabs), "slab_grid": plan.grid},
        ),
        Row(
            "slices",
            f"{plan.slice_count} of {g.thickness} x {g.width}{pixel}",
            {"slices": plan.slice_count, "thickness": g.thickness, "width": g.width}
            | {"pixel_nm": plan.sides_nm},
        ),
        views_row(plan),
        Row(
            "blocks",
            f"{plan.block_count} of {plural(spec.block.slices, 'slice')}",
            {"blocks": plan.block_count, "block_slices": spec.block.slices},
        ),
        *_halo_rows(plan),
        _network_row(plan),
        Row(
            "shard, chunk (z, y, x)",
            f"{_by(plan.shard)}, {_by(chunk)}",
            {"shard_zyx": plan.shard, "chunk_zyx": chunk},
        ),
    ]


def _halo_rows(plan: Plan) -> list[Row]:
    """Lines on what it costs that the method couples slices, and which blocks would cost less."""
    if not plan.spec.method.couples_slices:
        return []
    cost, patch = coupling_cost(plan), read_card(plan.spec.prior.weights).patch
    work = f"{plan.halo} slices on either side; the network's work is {cost:.2f} x"
    text = f"{work} that of the slices alone{_cheaper_blocks(plan, cost)}"
    rows = [Row("halo", text, {"halo_slices": plan.halo, "network_work": cost})]
    across = "across" in plan.spec.method.planes_of_levels
    if across and plan.shortest_stack < patch and plan.spec.prior.tiling == "tiles":
        continued = f"{plan.shortest_stack} slices or more, continued to {patch} by reflection"
        facts = {"shortest_stack_slices": plan.shortest_stack, "patch": patch}
        rows.append(Row("stack across the beam", continued, facts))
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


def _network_row(plan: Plan) -> Row:
    """Line on the network's images, how full its batches are, and what would fill them."""
    images, (fill, filling) = network_batch(plan), batch_fill(plan)
    sides = f"{images.per_slice} of {images.height} x {images.width} a slice at each noise level"
    text = f"{sides}; batches of {images.batch}, {fill:.0%} full"
    if fill < FULL:
        text += f": block.batch {filling} or a multiple of it fills them"
    return Row("network images", text, {"network": {**asdict(images), "fill": fill}})


def _cost_rows(plan: Plan) -> list[Row]:
    fetch, memory = fetch_bytes(plan), worker_memory(plan)
    sizes = {name: layer_bytes(plan, name) for name in plan.spec.output.layers}
    layers = ", ".join(f"{name} {decimal(size)}" for name, size in sizes.items())
    held = asdict(memory)
    parts = ", ".join(f"{name} {decimal(size)}" for name, size in held.items())
    pyramid, written = Pyramid(plan), bytes_to_write(plan)
    levels = {"coarser_levels": pyramid.levels[-1].number, "coarser_bytes": level_bytes(plan)}
    copy = f"; precomputed {decimal(copied)}" if (copied := copy_bytes(plan)) else ""
    misaligned = f"{fetch.touched / fetch.needed:.2f} x what is used, as chunks are cut through"
    return [
        Row(
            "to fetch, uncompressed",
            f"{decimal(fetch.touched)}: {misaligned}",
            {"fetch_bytes": fetch.touched, "needed_bytes": fetch.needed},
        ),
        Row(
            "to write, uncompressed",
            f"{decimal(written)}: {layers}{_coarser(pyramid, levels['coarser_bytes'])}{copy}",
            {"write_bytes": written, "layer_bytes": sizes, "copy_bytes": copied, **levels},
        ),
        Row(
            "memory of a worker",
            f"{decimal(memory.total)}: {parts}",
            {"memory_bytes": memory.total, "memory_parts_bytes": held},
        ),
        *_room_rows(plan),
        *size_rows(plan),
    ]


def _coarser(pyramid: Pyramid, size: int) -> str:
    """What the coarser levels add to the layers."""
    last = pyramid.levels[-1]
    if not last.number:
        return ""
    more, files = decimal(size), pyramid.count * len(pyramid.layers)
    return (
        f"; {plural(last.number, 'coarser level')}, down to {_by(last.shape)}: {more} in "
        f"{plural(files, 'file')}"
    )


def _time_rows(plan: Plan, cost: RunTime) -> list[Row]:
    spec = plan.spec
    rows = [
        Row(
            "network call",
            f"{cost.network_call * 1e3:.0f} ms for {network_batch(plan).batch}",
            {"network_call_seconds": cost.network_call},
        ),
        Row(
            "data step",
            f"{cost.data_step * 1e3:.0f} ms for {plural(spec.block.batch, 'slice')}",
            {"data_step_seconds": cost.data_step},
        ),
    ]
    whole, each = duration(cost.run), f"{cost.slice:.2f} s a slice"
    facts = {"slice_seconds": cost.slice, "run_seconds": cost.run}
    if isinstance(spec.cluster, Local):
        return [*rows, Row("time, as on this machine", f"{whole} ({each})", facts)]
    block = duration(cost.slice * spec.block.slices)
    here = f"{block} ({each}), {whole} for all blocks with one such worker; a run times its own"
    return [*rows, Row("time of a block, as on this machine", here, facts)]


def _room_rows(plan: Plan) -> list[Row]:
    """Line on whether a local cluster's workers can hold such blocks, and which they could hold."""
    if (limit := _worker_limit(plan)) is None:
        return []
    assert isinstance(plan.spec.cluster, Local)
    slices, memory = slices_that_fit(plan, *limit), plan.spec.cluster.memory
    room = fits(plan, *limit)
    remedy = f"at most {plural(slices, 'slice')}; lower block.slices" if slices else "no block does"
    text = "yes" if room else f"NO: {remedy}, or raise memory"
    facts = {"memory_limit_bytes": limit[0], "fits": room, "slices_that_fit": slices}
    return [Row(f"fits into {memory}", text, facts)]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
