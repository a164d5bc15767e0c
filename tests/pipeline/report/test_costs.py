"""The report's account of a run, against its ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.filesize import decimal

from ddgm.pipeline.report.costs import cost_rows
from ddgm.pipeline.report.run_data import load_run_data
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.workers.specs import Prices
from tests.pipeline.pages import Page
from tests.pipeline.report.reported import ledger

SHOWN = 6e-3  # relative: half a digit of the three that are shown


def hours_of(text: str) -> float:
    """The first number of a row: hours in all."""
    return float(text.split(":")[0])


def test_what_a_run_took_is_the_sum_of_its_records_and_costs_what_the_spec_says(run: str) -> None:
    records = ledger(run)
    data = load_run_data(RunStore(run))
    rows = {what: (amount, price) for what, amount, price in cost_rows(data)}
    hours = sum(sum(record["seconds"].values()) for record in records) / 3600
    assert hours_of(rows["core hours"][0]) == pytest.approx(hours, SHOWN)
    read = [record["read"] for record in records]
    assert [r["bytes"] > 0 for r in read] == [True, False]  # two blocks, and a chunk of both
    hits = sum(r["hits"] for r in read)
    asked = sum(r["requests"] for r in read) + hits
    assert 0 < hits < asked
    assert f"{hits / asked:.0%} of the chunks" in rows["source read"][0]
    written = sum(sum(record["sizes"].values()) for record in records)
    assert rows["output written"][0].startswith(f"{decimal(written)}: reconstruction ")
    assert {price for _, price in rows.values()} == {""}

    prices = Prices(core_hour=1.0, gb_written=10.0)
    spec = data.plan.spec.model_copy(update={"prices": prices})
    priced = replace(data, plan=replace(data.plan, spec=spec))
    paid = {what: price for what, _, price in cost_rows(priced)}
    assert float(paid["core hours"]) == pytest.approx(hours, SHOWN)
    assert float(paid["output written"]) == pytest.approx(written / 1e8, SHOWN)
    assert float(paid["all"]) == pytest.approx(hours + written / 1e8, SHOWN)


def test_seconds_of_a_gpu_are_not_those_of_a_core(run: str) -> None:
    data = load_run_data(RunStore(run))
    data.statistics.gpu_seconds["reconstruct"] = data.statistics.seconds["reconstruct"]
    rows = {what: amount for what, amount, _ in cost_rows(data)}
    gpu = data.statistics.seconds["reconstruct"] / 3600
    whole, stage = rows["GPU hours"].split(": reconstruct ")
    assert [float(whole), float(stage)] == pytest.approx([gpu, gpu], SHOWN)
    assert "reconstruct" not in rows["core hours"].split(", ")[0]


def test_prices_may_be_given_after_a_run(run: str) -> None:
    store = RunStore(run)
    spec = plan_of(store.manifest()).spec
    output = spec.output.model_copy(update={"path": run})
    prepare(spec.model_copy(update={"output": output, "prices": Prices(core_hour=3600.0)}))
    paid = {what: price for what, _, price in cost_rows(load_run_data(store))}
    seconds = sum(sum(record["seconds"].values()) for record in ledger(run))
    assert paid["core hours"] == paid["all"]
    assert float(paid["all"]) == pytest.approx(seconds, SHOWN)


def test_the_page_shows_it(plain: Page) -> None:
    wanted = ["core hours", "source read", "output written"]
    assert [row[0] for row in plain.rows if row and row[0] in wanted] == wanted
