"""Tables for the terminal: the state of a run, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from ddgm.pipeline.run.result import RunResult
from ddgm.pipeline.run.state import read_state
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.lock import Driver, driver
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.statistics import RunStatistics
from ddgm.pipeline.terminal import Row, duration, table

LISTED = 8  # blocks at work that are named


def status_table(root: str) -> Table:
    """State of a run: from the state file while a driver lives, else from the ledger.

    Raises:
        StoreError: there is no run there.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan, digest = plan_of(manifest), manifest["digest"]
    state, driven = read_state(store, digest), driver(store.folder)
    live = driven is not None and state is not None and not state["ended"]
    records = store.ledger.records_of(digest, plan.block_count)
    tally = state["tally"] if live and state is not None else RunStatistics.of(records).summary()
    left = plan.block_count - tally["done"]
    rows = [
        ("source", f"{plan.spec.source.url}, mip {plan.info.mip}"),
        ("started", manifest["created"]),
        ("driver", _driver(driven, state)),
        ("blocks", f"{tally['done']} done, {tally['failed']} failed, {left} left"),
        *pace_rows(tally, plan, left),
        *(_state_rows(state, live) if state is not None else ()),
        *metric_rows(tally),
        *_trouble_rows(tally),
    ]
    return table("run", rows)


def result_table(result: RunResult, root: str) -> Table:
    """A finished run's scores."""
    tally = result.tally.summary()
    counts = f"{result.done} done, {result.resumed} before, {result.failures} failed"
    rows = [("blocks", counts), ("time", duration(result.seconds))]
    if result.predicted is not None:
        rows += predicted_rows(result.predicted, result.seconds, tally["peak"])
    return table("result", [*rows, *metric_rows(tally)])


def predicted_rows(predicted: Mapping[str, Any], seconds: float, peak: int) -> list[Row]:
    """Rows of the predicted time and memory, and how far off they were."""
    rows = []
    if (
        planned := predicted["seconds"] or 0
    ) >= 1:  # below it, the rest of a run is all that counts
        off = _off(seconds, planned)
        rows.append(("time predicted", f"{duration(planned)} for the method alone: {off}"))
    if peak:
        off = _off(peak, predicted["memory"])
        rows.append(
            (
                "memory predicted",
                f"{decimal(predicted['memory'])} a worker, {decimal(peak)} held: {off}",
            )
        )
    return rows


def _off(real: float, planned: float) -> str:
    share = real / planned - 1
    return f"it took {abs(share):.0%} {'more' if share > 0 else 'less'}"


def pace_rows(tally: Mapping[str, Any], plan: Plan, left: int) -> list[Row]:
    """Rate, what is left at that rate, and where the time goes."""
    if tally["last"] is None:
        return []
    last = datetime.fromtimestamp(tally["last"], UTC).isoformat()
    rows = [("last block ended", last)]
    if pace := tally["seconds_a_block"]:
        z, y, x = plan.shard
        rows.append(("rate", f"{z * y * x / pace / 1e6:.3g} Mvoxel/s"))
        rows.append(("left, at this rate", duration(left * pace) if left else "nothing"))
    spent = ", ".join(f"{k} {v:.1f}" for k, v in tally["seconds"].items())
    rows.append(("seconds a block", spent))
    rows.append(("most memory of a worker", decimal(tally["peak"])))
    if missing := tally["missing_voxels"]:
        rows.append(("filled", f"{missing} voxels that the source lacks"))
    return rows


def metric_rows(tally: Mapping[str, Any]) -> list[Row]:
    """Means over slices; the method's beside the algebraic reconstruction's."""
    rows, metrics = [], tally["metrics"]
    for name, key in (("MSE", "mse"), ("SSIM", "ssim"), ("data residual", "residual")):
        if key not in metrics:
            continue
        text = f"{metrics[key]['mean']:.4f} (median {metrics[key]['median']:.4f})"
        if other := metrics.get(f"algebraic_{key}"):
            text += f"; gradient descent {other['mean']:.4f}"
        rows.append((name, text))
    if "seam" in metrics:
        rows.append(("seam energy", f"{metrics['seam']['mean']:.3f} (1: no seam)"))
    if "neighbours" in metrics:
        step = metrics["neighbours"]["mean"]
        rows.append(("step to the next slice", f"{step:.3f} of the truth's (1: as rough)"))
    return rows


def _driver(driven: Driver | None, state: Mapping[str, Any] | None) -> str:
    if driven is not None:
        seen = f", last heard at {state['updated']}" if state is not None else ""
        return f"process {driven.pid} on {driven.host}{seen}"
    return "none: the run has ended, or was stopped"


def _state_rows(state: Mapping[str, Any], live: bool) -> list[Row]:
    """Rows of the state that the latest start wrote."""
    workers = f"{state['block_workers']} that hold blocks, {state['pool']} in the pool"
    rows = [("workers", f"{workers}; placement: {state['placement']}")]
    if state["busy"] is not None:
        who = "workers" if state["placement"] == "local" else "pool"
        rows.append((f"{who} at the network", f"{state['busy']:.0%} of the time"))
    rows.append(("retries", str(state["retries"])))
    if predicted := state["predicted"]:
        if live and (predicted["seconds"] or 0) >= 1:
            rows.append(
                ("time predicted", f"{duration(predicted['seconds'])} for the method alone")
            )
        elif not live:
            rows += predicted_rows(predicted, state["seconds"], state["tally"]["peak"])
    if live:
        shown = [
            f"{r['block']} ({r['stage']} on {r['worker']}, {duration(r['seconds'])})"
            for r in state["running"][:LISTED]
        ]
        rows.append(("at work on", f"{state['active']} blocks: {', '.join(shown) or 'none'}"))
    return rows


def _trouble_rows(tally: Mapping[str, Any]) -> list[Row]:
    worst = ", ".join(f"slice {s} of block {b}: {r:.3g}" for r, s, b in tally["worst"])
    rows = [("worst data residuals", worst)] if worst else []
    rows += [(f"block {f['block']} failed", f["cause"]) for f in tally["failures"]]
    return rows
