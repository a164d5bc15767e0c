"""The state of a run and its result: lines for the terminal, and facts for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from ddgm.pipeline.cli.shown.progress import lines_of, rate_text
from ddgm.pipeline.run.events import ActiveBlock, RunStarted
from ddgm.pipeline.run.progress.outcome import Outcome, read_outcome
from ddgm.pipeline.run.progress.state import read_state
from ddgm.pipeline.run.result import RunResult
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.lock import Driver, driver
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables.index import LedgerIndex
from ddgm.pipeline.store.tables.statistics import RunStatistics
from ddgm.pipeline.terminal import Row, duration, plural, table


def status_rows(root: str) -> list[Row]:
    """State of a run: from the state file while a driver lives, else from the ledger.

    Raises:
        StoreError: there is no run there.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan, digest = plan_of(manifest), manifest["digest"]
    state, driven = read_state(store, digest), driver(store.folder)
    live = driven is not None and state is not None and not state["ended"]
    if live and state is not None:
        tally = state["tally"]
    else:
        ended = LedgerIndex(store.folder, digest, plan.block_count).ended()
        tally = RunStatistics.of(ended).summary()
    left = plan.block_count - tally["done"]
    counts = {key: tally[key] for key in ("done", "failed", "failures")}
    url, mip = plan.spec.source.place, plan.info.mip
    return [
        Row("source", f"{url}, mip {mip}", {"run": root, "source": url, "mip": mip}),
        Row("started", manifest["created"], {"started": manifest["created"]}),
        _driver_row(driven, state, read_outcome(store, digest)),
        Row(
            "blocks",
            f"{tally['done']} done, {tally['failed']} failed, {left} left",
            {"blocks": plan.block_count, **counts, "left": left},
        ),
        *(_pace_rows(state.get("pace", {}), live) if state is not None else ()),
        *_time_rows(tally),
        *(_state_rows(state, live, plan) if state is not None else ()),
        *metric_rows(tally),
        *_trouble_rows(tally),
    ]


def result_table(result: RunResult, root: str) -> Table:
    """A finished run's scores."""
    tally = result.tally.summary()
    counts = f"{result.done} done, {result.resumed} before, {result.failures} failed"
    rows = [Row("blocks", counts), Row("time", duration(result.seconds))]
    if (rate := result.voxels_per_second) is not None:
        rows.append(Row("rate", rate_text(rate)))
    if result.predicted is not None:
        rows += predicted_rows(result.predicted, result.seconds, tally["peak"])
    return table("result", [*rows, *metric_rows(tally)])


def predicted_rows(predicted: Mapping[str, Any], seconds: float, peak: int) -> list[Row]:
    """Rows of the predicted time and memory, and how far off they were."""
    rows = []
    planned, memory = predicted["seconds"] or 0, predicted["memory"]
    if planned >= 1:  # below it, the rest of a run is all that counts
        text = f"{duration(planned)} for the method alone: {_off(seconds, planned)}"
        facts = {"predicted_seconds": planned, "seconds": seconds}
        rows.append(Row("time predicted", text, facts))
    if peak:
        text = f"{decimal(memory)} a worker, {decimal(peak)} held: {_off(peak, memory)}"
        rows.append(Row("memory predicted", text, {"predicted_memory_bytes": memory}))
    return rows


def _off(real: float, planned: float) -> str:
    share = real / planned - 1
    return f"it took {abs(share):.0%} {'more' if share > 0 else 'less'}"


def _pace_rows(pace: Mapping[str, Any], live: bool) -> list[Row]:
    """The rate of the latest start, and the time that is left while it goes."""
    rows = []
    if (rate := pace.get("voxels_per_second")) is not None:
        rows.append(Row("rate", rate_text(rate), {"voxels_per_second": rate}))
    if live and (left := pace.get("left_seconds")) is not None:
        rows.append(Row("time left", duration(left), {"left_seconds": left}))
    return rows


def _time_rows(tally: Mapping[str, Any]) -> list[Row]:
    """When the last block ended, and where its time and memory went."""
    if tally["last"] is None:
        return []
    last = datetime.fromtimestamp(tally["last"], UTC).isoformat()
    rows = [Row("last block ended", last, {"last_block_ended": last})]
    rows += _read_rows(tally)
    spent = ", ".join(f"{k} {v:.1f}" for k, v in tally["seconds"].items())
    rows.append(Row("seconds a block", spent, {"block_seconds": tally["seconds"]}))
    peak = tally["peak"]
    rows.append(Row("most memory of a worker", decimal(peak), {"peak_memory_bytes": peak}))
    if missing := tally["missing_voxels"]:
        text = f"{missing} voxels that the source lacks"
        rows.append(Row("filled", text, {"filled_voxels": missing}))
    return rows


def _read_rows(tally: Mapping[str, Any]) -> list[Row]:
    """Line on what the blocks read of the source, and how much of it the workers had."""
    read, facts = tally.get("read", {}), ("read", "written", "total_seconds", "gpu_seconds")
    if not (asked := read.get("requests", 0) + read.get("hits", 0)):
        return []
    text = (
        f"{decimal(read['bytes'])} in {plural(read['requests'], 'request')}; "
        f"{read['hits'] / asked:.0%} of the chunks came from workers' caches"
    )
    return [Row("read", text, {name: tally.get(name, {}) for name in facts})]


SCORES = {
    "MSE": "mse",
    "SSIM": "ssim",
    "data residual": "residual",
    "held-out views": "held_out",
}


def metric_rows(tally: Mapping[str, Any]) -> list[Row]:
    """Means over slices; the method's beside the algebraic reconstruction's."""
    rows, metrics = [], tally["metrics"]
    for name, key in SCORES.items():
        if key not in metrics:
            continue
        text = f"{metrics[key]['mean']:.4f} (median {metrics[key]['median']:.4f})"
        facts = {key: metrics[key]}
        if other := metrics.get(f"algebraic_{key}"):
            text += f"; gradient descent {other['mean']:.4f}"
            facts[f"algebraic_{key}"] = other
        rows.append(Row(name, text, facts))
    if "seam" in metrics:
        text = f"{metrics['seam']['mean']:.3f} (1: no seam)"
        rows.append(Row("seam energy", text, {"seam": metrics["seam"]}))
    if "neighbours" in metrics:
        text = f"{metrics['neighbours']['mean']:.3f} of the truth's (1: as rough)"
        facts = {"neighbours": metrics["neighbours"]}
        rows.append(Row("step to the next slice", text, facts))
    return rows


def _driver_row(
    driven: Driver | None, state: Mapping[str, Any] | None, outcome: Outcome | None
) -> Row:
    if driven is None and outcome is not None:
        how = f"{outcome.kind}: {outcome.message}" if outcome.message else outcome.kind
        facts = {"driver": None, "outcome": asdict(outcome)}
        return Row("driver", f"none: ended at {outcome.ended}, {how}", facts)
    if driven is None:
        text = "none: the run has ended, or was stopped"
        return Row("driver", text, {"driver": None, "outcome": None})
    heard = None if state is None else state["updated"]
    seen = "" if heard is None else f", last heard at {heard}"
    facts = {"driver": {"pid": driven.pid, "host": driven.host, "heard": heard}, "outcome": None}
    return Row("driver", f"process {driven.pid} on {driven.host}{seen}", facts)


def _state_rows(state: Mapping[str, Any], live: bool, plan: Plan) -> list[Row]:
    """Rows of the state that the latest start wrote."""
    workers = f"{state['block_workers']} that hold blocks, {state['pool']} in the pool"
    facts = {key: state[key] for key in ("block_workers", "pool", "placement")}
    rows = [Row("workers", f"{workers}; placement: {state['placement']}", facts)]
    if (busy := state["busy"]) is not None:
        who = "workers" if state["placement"] == "local" else "pool"
        rows.append(Row(f"{who} at the network", f"{busy:.0%} of the time", {"busy": busy}))
    rows.append(Row("retries", str(state["retries"]), {"retries": state["retries"]}))
    if predicted := state["predicted"]:
        if live and (seconds := predicted["seconds"] or 0) >= 1:
            text = f"{duration(seconds)} for the method alone"
            rows.append(Row("time predicted", text, {"predicted_seconds": seconds}))
        elif not live:
            rows += predicted_rows(predicted, state["seconds"], state["tally"]["peak"])
    if live:
        run = RunStarted.of(plan, 0, "")
        active = tuple(ActiveBlock(**r) for r in state["running"])
        text = "; ".join(lines_of(run, active, state.get("once", ()))) or "no block"
        facts = {key: state[key] for key in ("active", "running")}
        rows.append(Row("at work on", text, facts))
    return rows


def _trouble_rows(tally: Mapping[str, Any]) -> list[Row]:
    worst = ", ".join(f"slice {s} of block {b}: {r:.3g}" for r, s, b in tally["worst"])
    slices = [{"block": b, "slice": s, "residual": r} for r, s, b in tally["worst"]]
    rows = [Row("worst data residuals", worst, {"worst": slices})] if worst else []
    rows += [Row(f"block {f['block']} failed", f["cause"]) for f in tally["failures"]]
    return rows
