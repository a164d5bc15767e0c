"""The terminal that all commands print to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

console = Console(soft_wrap=True, highlight=False)


LOG_SECONDS = 15.0


def bar(console: Console) -> Progress:
    """A progress bar with counts, elapsed time and ETA."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
    )


@contextmanager
def counted(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call as show(done, total) while the context lasts."""
    started = logged = time.monotonic()
    shown = bar(console)
    task = shown.add_task(what, total=None)

    def show(done: int, total: int) -> None:
        nonlocal logged
        shown.update(task, completed=done, total=total)
        now = time.monotonic()
        if not console.is_terminal and now - logged >= LOG_SECONDS:
            logged = now
            left = (now - started) / max(done, 1) * (total - done)
            console.print(f"{done}/{total} {what}, ETA {duration(left)}")

    with shown if console.is_terminal else nullcontext():
        yield show


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 5 h 10 min, 2 d 4 h."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest, parts = max(0, round(seconds)), []
    for name, size in units:
        if rest >= size or (name == "s" and not parts):
            parts.append(f"{rest // size} {name}")
            rest %= size
        elif parts:
            break
    return " ".join(parts[:2])


Row = tuple[str, str]


def table(title: str, rows: Iterable[Row]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
