"""What a person is told while a run goes."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from ddgm.core.process_work import Work, work
from ddgm.pipeline import progress_bar as module
from ddgm.pipeline.cli.shown.progress import RunProgress, reached
from ddgm.pipeline.cli.shown.status_table import predicted_rows
from ddgm.pipeline.progress_bar import counted
from ddgm.pipeline.run.events import (
    ActiveBlock,
    BlockFailed,
    BlockRetried,
    ClusterStatus,
    Paced,
    RunStarted,
    Waiting,
)
from ddgm.pipeline.run.placement import LOCAL
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.terminal import duration

STARTED = RunStarted(
    blocks=10, done=2, voxels=30_000_000, dashboard="http://here", slices=32, batch=8, levels=50
)


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
        progress(STARTED)
        for steps in range(4):
            now[0] += 10
            active = ActiveBlock(7, "reconstruct", "cpu-0", 9.0, done=steps, total=4 * 50)
            progress(ClusterStatus(LOCAL, 2, 0, (active,)))
            progress(Paced(steps / 4, 3e6 if steps > 1 else None, 60.0 if steps else None))
        progress(BlockRetried(7, 1, "timed out"))
        progress(BlockFailed(Record(8, "d", "failed", cause="gone")))
        now[0] += 100
        progress(Waiting())
    lines = out.getvalue().splitlines()
    assert lines[0] == "10 blocks, 2 done before; Dask dashboard at http://here"
    at = "cpu-0: block 7, slices 1 to 8 of 32, noise level"
    assert f"72/320 slices, ETA 1 min; {at} 2 of 50" in lines
    assert f"88/320 slices, 3 Mvoxel/s, ETA 1 min; {at} 4 of 50" in lines
    assert sum("slices, " in line for line in lines) == 2
    assert "block 7: attempt 1 failed, trying again: timed out" in lines
    assert "block 8 failed: gone" in lines
    assert lines[-1] == "no worker is there yet; waiting"


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_gets_a_bar_and_a_line_for_each_worker(width: int) -> None:
    out = io.StringIO()
    with RunProgress(Console(file=out, force_terminal=True, width=width)) as progress:
        progress(STARTED)
        active = tuple(
            ActiveBlock(block, "reconstruct", f"cpu-{block}", 9.0, done=60, total=4 * 50)
            for block in range(20)
        )
        once = (("gpu-0", Work("timing a network call", began=0.0)),)
        progress(ClusterStatus(LOCAL, 20, 0, active, once=once))
        progress(Paced(3.5, 3e6, 75.0))
        progress.bar.stop()
        out.truncate(out.seek(0))
        for renderable in progress.bar.get_renderables():
            progress.console.print(renderable)
    shown = Text.from_ansi(out.getvalue()).plain.splitlines()
    assert "176/320" in shown[0]
    assert "ETA 1 min 15 s" in shown[0]
    assert shown[1:3] == ["  3 Mvoxel/s", "  gpu-0: timing a network call"]
    assert shown[3].startswith("  cpu-0: block 0, slices 9 to 16 of 32, noise level 11 ")
    assert shown[-1] == "  and 13 more"
    assert all(len(line) <= width for line in shown)


@pytest.mark.parametrize(
    ("batch", "total", "done", "expected"),
    [
        (1, 32 * 50, 0, "slice 1 of 32, noise level 1 of 50"),
        (20, 2 * 50, 75, "slices 21 to 32 of 32, noise level 26 of 50"),
        (20, 2 * 50, 100, "slices 21 to 32 of 32, noise level 50 of 50"),
        (32, 50, 49, "slices 1 to 32 of 32, noise level 50 of 50"),
        (1, 0, 0, "reconstruct"),
    ],
)
def test_where_a_worker_is_is_said_in_slices_and_noise_levels(
    batch: int, total: int, done: int, expected: str
) -> None:
    active = ActiveBlock(0, "reconstruct", "cpu-0", 0.0, done, total)
    assert reached(replace(STARTED, batch=batch), active) == expected


def test_what_is_built_once_is_said_as_it_begins_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with counted(Console(file=out, width=200), "methods"), work("building A, once", 4) as step:
        for part in range(1, 4):
            now[0] += 20
            step(part)
    assert out.getvalue().splitlines() == [
        "building A, once: 0/4, ETA -",
        "building A, once: 1/4, ETA 1 min",
        "building A, once: 2/4, ETA 40 s",
        "building A, once: 3/4, ETA 20 s",
    ]


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
