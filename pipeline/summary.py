"""A plan, a run's state and its result as tables for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from statistics import fmean, median

from rich.console import Console
from rich.table import Table

from pipeline.estimate import calibrate, fetch_bytes, patches_per_slice, worker_memory
from pipeline.ledger import Record
from pipeline.manifest import plan_of
from pipeline.plan import Plan, checked_plan
from pipeline.progress import duration, size
from pipeline.runner import Summary
from pipeline.solver import resident_prior
from pipeline.source import Box, SourceError, VolumeInfo
from pipeline.spec import Spec
from pipeline.stages import source_volume
from pipeline.store import RunStore

Row = tuple[str, str]


def plan_table(spec: Spec, timed: bool, console: Console) -> Table:
    """What a run would do and cost.

    Raises:
        DdgmError: the spec does not fit its volume, or the prior is not there.
    """
    info = _info_or_assumed(spec, console)
    plan = checked_plan(spec, info)
    rows = [*_shape_rows(plan), *_cost_rows(plan)]
    if timed:
        with console.status("timing a network call and a data step"):
            cost = calibrate(plan)
        rows += [
            ("network call", f"{cost.network_call * 1e3:.0f} ms for {spec.prior.batch} patches"),
            ("data step", f"{cost.data_step * 1e3:.0f} ms for {spec.block.batch} slices"),
            ("time, as on this machine", f"{duration(cost.run)} ({cost.slice:.2f} s a slice)"),
        ]
    return _table("plan", rows)


def _info_or_assumed(spec: Spec, console: Console) -> VolumeInfo:
    """What the volume says of itself; where it cannot be asked, what the spec implies."""
    try:
        with console.status("asking the source"):
            return source_volume(spec).info
    except SourceError as error:
        box = spec.source.box
        if error.kind not in ("unreachable", "credentials") or box is None:
            raise
        console.print("the source does not answer; assuming uint8, chunks of 64³, box in bounds")
        start, stop = (tuple(box[a][end] for a in ("z", "y", "x")) for end in (0, 1))
        side = resident_prior(spec.prior).card.voxel_size_nm
        bounds = Box(start, stop)  # type: ignore[arg-type]
        return VolumeInfo(bounds, (side, side, side), "uint8", (64, 64, 64), 1, spec.source.mip)


def _shape_rows(plan: Plan) -> list[Row]:
    g, spec = plan.geometry, plan.spec
    left = ", ".join(f"{n} voxels along {a}" for a, n in plan.left_over.items())
    sides = " x ".join(f"{s:g}" for s in plan.info.voxel_size_nm)
    voxel = resident_prior(spec.prior).card.voxel_size_nm
    odd = "" if set(plan.info.voxel_size_nm) == {voxel} else f"; the prior was trained at {voxel:g}"
    return [
        ("source", f"{spec.source.url}, mip {plan.info.mip}"),
        ("box", str(plan.box)),
        ("left over", left or "nothing"),
        ("voxel (z, y, x)", f"{sides} nm{odd}"),
        ("slabs", f"{len(plan.slabs)} of {plan.grid[0]} x {plan.grid[1]} (thickness x width)"),
        ("slices", f"{plan.slice_count} of {g.thickness} x {g.width}"),
        ("views", f"{g.views}, {g.bins} bins, {g.detector} detector"),
        ("blocks", f"{plan.block_count} of {spec.block.slices} slices"),
        ("network patches", f"{patches_per_slice(plan)} a slice at each noise level"),
        ("shard, chunk (z, y, x)", f"{_by(plan.shard)}, {_by(plan.chunks)}"),
    ]


def _cost_rows(plan: Plan) -> list[Row]:
    fetch, memory = fetch_bytes(plan), worker_memory(plan)
    layers = ", ".join(f"{n} {size(plan.layer_bytes(n))}" for n in plan.spec.output.layers)
    parts = ", ".join(
        f"{name} {size(getattr(memory, name))}"
        for name in ("process", "network", "projector", "block", "batch")
    )
    misaligned = f"{fetch.touched / fetch.needed:.2f} x what is used, as chunks are cut by blocks"
    return [
        ("to fetch, uncompressed", f"{size(fetch.touched)}: {misaligned}"),
        ("to write, uncompressed", f"{size(plan.bytes_to_write())}: {layers}"),
        ("memory of a worker", f"{size(memory.total)}: {parts}"),
    ]


def status_table(root: str) -> Table:
    """How far a run is.

    Raises:
        StoreError: there is no run there.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan, digest = plan_of(manifest), manifest["digest"]
    records = [r for r in store.records() if r.digest == digest]
    states = Counter(r.state for r in records)
    done = [r for r in records if r.state == "done"]
    left = plan.block_count - states["done"]
    rows = [
        ("source", f"{plan.spec.source.url}, mip {plan.info.mip}"),
        ("started", manifest["created"]),
        ("blocks", f"{states['done']} done, {states['failed']} failed, {left} left"),
        *_pace_rows(done, plan, left),
        *_metric_rows(done),
        *((f"block {r.block} failed", r.cause) for r in records if r.state == "failed"),
    ]
    return _table("run", rows)


def _pace_rows(done: list[Record], plan: Plan, left: int) -> list[Row]:
    if not done:
        return []
    times = sorted(datetime.fromisoformat(r.finished).timestamp() for r in done)
    rows = [("last block ended", max(r.finished for r in done))]
    gaps = [b - a for a, b in pairwise(times)]
    if gaps:
        # gaps far longer than most lie between one start of the run and the next
        longest = 10 * sorted(gaps)[int(0.75 * len(gaps))]
        typical = max(fmean(g for g in gaps if g <= longest), 1e-3)
        z, y, x = plan.shard
        rows.append(("rate", f"{z * y * x / typical / 1e6:.3g} Mvoxel/s"))
        rows.append(("left, at this rate", duration(left * typical) if left else "nothing"))
    stages = Counter[str]()
    for r in done:
        stages.update(r.seconds)
    spent = ", ".join(f"{k} {v / len(done):.1f}" for k, v in stages.items())
    rows.append(("seconds a block", spent))
    if missing := sum(r.missing_voxels for r in done):
        rows.append(("filled", f"{missing} voxels that the source lacks"))
    return rows


def result_table(summary: Summary, root: str) -> Table:
    """A finished run's scores."""
    done = [r for r in RunStore(root).records() if r.state == "done"]
    rows = [
        ("blocks", f"{summary.done} done, {summary.resumed} before, {len(summary.failed)} failed"),
        ("time", duration(summary.seconds)),
        *_metric_rows(done),
    ]
    return _table("result", rows)


def _metric_rows(done: Iterable[Record]) -> list[Row]:
    """Means over slices; the method's beside the algebraic reconstruction's."""
    slices = [m for r in done for m in r.metrics]
    rows = []
    for name, key in (("MSE", "mse"), ("SSIM", "ssim"), ("data residual", "residual")):
        values = [m[key] for m in slices if key in m]
        if not values:
            continue
        text = f"{fmean(values):.4f} (median {median(values):.4f})"
        if other := [m[f"algebraic_{key}"] for m in slices if f"algebraic_{key}" in m]:
            text += f"; gradient descent {fmean(other):.4f}"
        rows.append((name, text))
    if seams := [m["seam"] for m in slices if "seam" in m]:
        rows.append(("seam energy", f"{fmean(seams):.3f} (1: no seam)"))
    return rows


def _table(title: str, rows: Iterable[Row]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
