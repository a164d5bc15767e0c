"""What a report says of a run that is not complete, or has failed blocks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.store.arrays import StoreError
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables import statistics
from tests.pipeline.pages import Page
from tests.pipeline.report.reported import ledger, numbers, page

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unpainted")]


def test_failed_blocks_are_listed_with_cause_and_command(run: str) -> None:
    digest = RunStore(run).manifest()["digest"]
    RunStore(run).ledger.put(
        Record(1, digest, "failed", 3, cause="SourceError: <b>gone</b> & lost")
    )
    shown = page(run)
    assert ["1", "3", "SourceError: <b>gone</b> & lost", "ddgm block SPEC --id 1"] in shown.rows
    assert "4 of 8 slices" in shown.text
    assert "1 block done, 1 failed" in shown.text
    assert "not complete: of 2 blocks 1 failed and 0 have not been run" in shown.text


def test_many_failures_are_cut_short(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_FAILURES", 1)
    digest = RunStore(run).manifest()["digest"]
    RunStore(run).ledger.put(Record(1, digest, "failed", 1, cause="x"))
    assert "see the ledger" not in page(run).text
    monkeypatch.setattr(statistics, "MAX_FAILURES", 0)
    shown = page(run)
    assert not any("--id" in row[-1] for row in shown.rows if row)
    assert "And 1 more, see the ledger" in shown.text


def test_unfinished_run_says_so_and_a_finished_one_does_not(run: str, plain: Page) -> None:
    assert "not complete" not in plain.text
    (Path(run) / "ledger/000/000000.json").unlink()
    shown = page(run)
    assert "not complete: of 2 blocks 0 failed and 1 have not been run" in shown.text
    values = [row["mse"] for row in ledger(run)[0]["metrics"]]
    assert numbers(shown.row("MSE")[1])[0] == pytest.approx(sum(values) / 4, abs=5.1e-5)


def test_records_of_another_digest_count_for_nothing(run: str) -> None:
    RunStore(run).ledger.put(replace(next(RunStore(run).ledger.records()), digest="other"))
    assert "4 of 8 slices" in page(run).text


def test_nothing_done_is_an_error_that_says_why(run: str, tmp_path: Path) -> None:
    digest = RunStore(run).manifest()["digest"]
    shutil.rmtree(Path(run) / "ledger")
    with pytest.raises(StoreError, match="no block is done yet"):
        write_report(run)
    RunStore(run).ledger.put(Record(0, digest, "failed", cause="SourceError: gone"))
    with pytest.raises(StoreError, match=r"1 failed.*SourceError: gone"):
        write_report(run)
    assert not (Path(run) / "report.html").exists()
    with pytest.raises(StoreError, match=r"no run\.json"):
        write_report(str(tmp_path / "elsewhere"))
