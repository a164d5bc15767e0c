"""The report's account of a run: hours, requests and bytes, and their price."""

from __future__ import annotations

from collections import Counter

from rich.filesize import decimal

from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.terminal import plural
from ddgm.workers.specs import HOUR, Prices


def cost_rows(run: RunData) -> list[tuple[str, str, str]]:
    """Rows of what, how much, and its price, which is empty where the spec has no prices.

    Blocks that were begun and not ended, and workers that waited, are not in it.
    """
    tally, threads = run.statistics, run.plan.spec.cluster.threads
    paid = (run.plan.spec.prices or Prices()).of(tally.used(threads))
    cores = tally.seconds - tally.gpu_seconds  # without what a GPU computed
    rows = [("core hours", _hours(cores, threads), paid["core_hour"])]
    if tally.gpu_seconds:
        rows.append(("GPU hours", _hours(tally.gpu_seconds, 1), paid["gpu_hour"]))
    if asked := tally.read["requests"] + tally.read["hits"]:
        text = f"{decimal(tally.read['bytes'])} in {plural(tally.read['requests'], 'request')}; "
        text += f"{tally.read['hits'] / asked:.0%} of the chunks came from workers' caches"
        rows.append(("source read", text, paid["gb_read"] + paid["thousand_requests"]))
    layers = ", ".join(f"{layer} {decimal(size)}" for layer, size in tally.written.items())
    total = decimal(tally.written.total())
    rows.append(("output written", f"{total}: {layers}", paid["gb_written"]))
    if run.plan.spec.prices is None:
        return [(what, amount, "") for what, amount, _ in rows]
    rows.append(("all", "", sum(price for _, _, price in rows)))
    return [(what, amount, f"{price:.4g}") for what, amount, price in rows]


def _hours(seconds: Counter[str], threads: int) -> str:
    """Hours in all, and those of each stage, the longest first."""
    parts = ", ".join(f"{k} {v * threads / HOUR:.3g}" for k, v in seconds.most_common())
    return f"{seconds.total() * threads / HOUR:.3g}: {parts}"
