"""Progress of what takes long: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from rich import progress as rich
from rich.console import Console, RenderableType
from rich.text import Text

from ddgm.core.process_work import Work, watched
from ddgm.pipeline.terminal import duration, printable

LOG_SECONDS = 15.0  # between two lines in a log, at least
BESIDE = 52  # columns that a bar leaves to counts and times


class Count(rich.ProgressColumn):
    """The count and its end, once that is known."""

    def render(self, task: rich.Task) -> Text:
        """Render a task's count."""
        return Text("" if task.total is None else f"{int(task.completed)}/{int(task.total)}")


class Eta(rich.ProgressColumn):
    """The time that is left: a task's field `left` where it has one, else by its own pace."""

    max_refresh = 0.5

    def render(self, task: rich.Task) -> Text:
        """Render a task's time left."""
        return Text(eta(task.fields.get("left", task.time_remaining)))


class Bar(rich.Progress):
    """A progress bar, and lines below it.

    Attributes:
        lines: what is shown below, each cut where the terminal ends.
    """

    def __init__(self, console: Console) -> None:
        self.lines: Sequence[str] = ()
        super().__init__(
            rich.SpinnerColumn(),
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(bar_width=max(4, min(40, console.width - BESIDE))),
            Count(),
            rich.TimeElapsedColumn(),
            Eta(),
            console=console,
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the bar, then the lines."""
        yield self.make_tasks_table(self.tasks)
        for line in self.lines:
            yield Text(printable(line), no_wrap=True, overflow="ellipsis")


class ProgressBar:
    """A bar where the console is a terminal, else a line now and then; a context manager.

    What this process is at meanwhile is shown, too: see `ddgm.core.process_work`.

    Attributes:
        started: when the count began, by the monotonic clock; `begin` sets it.
    """

    def __init__(self, console: Console, what: str) -> None:
        self.console, self.what = console, what
        self.bar = Bar(console)
        self.task = self.bar.add_task(what, total=None)
        self.started = self.logged = time.monotonic()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(watched(self._on_work))
        if self.console.is_terminal:
            self._open.enter_context(self.bar)
        return self

    def __exit__(self, *raised: object) -> None:
        self.bar.lines = ()
        self._open.close()

    def begin(self, total: int, done: int = 0) -> None:
        """Count from now on, with so many done before."""
        self.started = self.logged = time.monotonic()
        self.bar.reset(self.task, total=total, completed=done)

    def log(self, line: Callable[[], str]) -> None:
        """Print a line where there is no bar, at most one in `LOG_SECONDS`."""
        if not self.console.is_terminal and time.monotonic() - self.logged >= LOG_SECONDS:
            self.logged = time.monotonic()
            self.console.print(line())

    def eta(self, done: int, left: int) -> str:
        """Time that what is left takes at the pace of what is done since `begin`."""
        pace = (time.monotonic() - self.started) / max(done, 1)
        return eta(left * pace)

    def _on_work(self, now: Work | None) -> None:
        """Show what this process is at; in a log, what it does once gets a line as it begins."""
        self.bar.lines = () if now is None else (f"  {in_words(now)}",)
        if now is None:
            return
        if not (self.console.is_terminal or now.task or now.done):
            self.console.print(in_words(now))
        else:
            self.log(lambda: in_words(now))


@contextmanager
def counted(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call as show(done, total) while the context lasts."""
    with ProgressBar(console, what) as shown:

        def show(done: int, total: int) -> None:
            shown.bar.update(shown.task, completed=done, total=total)
            shown.log(lambda: f"{done}/{total} {what}, {shown.eta(done, total - done)}")

        yield show


def in_words(now: Work) -> str:
    """A piece of work with its count and the time that is left of it."""
    if not now.total:
        return now.what
    left = None
    if now.done:
        left = (time.monotonic() - now.began) / now.done * (now.total - now.done)
    return f"{now.what}: {now.done}/{now.total}, {eta(left)}"


def eta(seconds: float | None) -> str:
    """A time that is left, in words."""
    return "ETA -" if seconds is None else f"ETA {duration(seconds)}"
