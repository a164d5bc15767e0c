"""What a person is told while a run goes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ddgm.pipeline import terminal as module
from ddgm.pipeline.cli.progress import RunProgress
from ddgm.pipeline.cli.status_table import predicted_rows
from ddgm.pipeline.run.events import BlockDone, BlockFailed, BlockRetried, RunStarted, Waiting
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.terminal import counted, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (45.4, "45 s"), (200, "3 min 20 s"), (3600, "1 h"), (187_000, "2 d 3 h")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_how_far_a_forecast_was_off_is_said_from_one_second_on() -> None:
    def time_predicted(seconds: float | None) -> list[str]:
        predicted = {"seconds": seconds, "memory": 0}
        rows = predicted_rows(predicted, seconds=30.0, peak=0)
        return [row.text for row in rows if row.name == "time predicted"]

    assert time_predicted(None) == time_predicted(0.0015) == time_predicted(0.99) == []
    (said,) = time_predicted(24.0)
    assert said == "24 s for the method alone: it took 25% more"


def test_a_log_gets_lines_with_counts_rate_and_eta(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with RunProgress(Console(file=out, width=200)) as progress:
        progress(RunStarted(blocks=10, done=2, voxels=30_000_000, dashboard="http://here"))
        for block in range(4):
            now[0] += 10
            progress(BlockDone(Record(block, "d", "done")))
        progress(BlockRetried(7, 1, "timed out"))
        progress(BlockFailed(Record(8, "d", "failed", cause="gone")))
        now[0] += 100
        progress(Waiting())
    lines = out.getvalue().splitlines()
    assert lines[0] == "10 blocks, 2 done before; Dask dashboard at http://here"
    assert "4/10 blocks, 3 Mvoxel/s, ETA 1 min" in lines
    assert "6/10 blocks, 3 Mvoxel/s, ETA 40 s" in lines
    assert "block 7: attempt 1 failed, trying again: timed out" in lines
    assert "block 8 failed: gone" in lines
    assert lines[-1] == "no worker is there yet; waiting"


def test_what_is_counted_gets_a_line_in_a_log_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with counted(Console(file=out), "steps") as show:
        for done in range(1, 6):
            now[0] += 10
            show(done, 10)
    assert out.getvalue().splitlines() == ["2/10 steps, ETA 1 min 20 s", "4/10 steps, ETA 1 min"]


def test_what_is_counted_gets_a_bar_on_a_terminal() -> None:
    out = io.StringIO()
    with counted(Console(file=out, force_terminal=True, width=100), "steps") as show:
        show(3, 10)
    assert "steps" in out.getvalue()
    assert "3/10" in out.getvalue()
