"""Progress of a training: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console

from ddgm.core.training.events import Event, Started, Stepped, Validated
from ddgm.pipeline.terminal import LOG_SECONDS, bar, duration


class TrainingProgress:
    """Observes a training; use as a context."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = bar(console)
        self.task = self.bar.add_task("updates", total=None)
        self.steps = self.first = 0
        self.started = self.logged = time.monotonic()

    def __enter__(self) -> TrainingProgress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Stepped):
            what = (
                f"loss {event.loss:.4f}, {event.patches_per_second:.3g} patches/s, "
                f"waiting {event.waiting:.0%}"
            )
            self.bar.update(self.task, completed=event.step, description=f"updates, {what}")
            self._log(event.step, what)
        elif isinstance(event, Validated):
            errors = ", ".join(f"{e:.4g} at {sigma:g}" for sigma, e in event.errors.items())
            scores = (
                ""
                if math.isnan(event.mse)
                else (f"; DDGM MSE {event.mse:.4f}, {event.ratio:.3f} of gradient descent's")
            )
            self.console.print(f"update {event.step}: noise error {errors}{scores}")

    def _start(self, event: Started) -> None:
        self.steps, self.first = event.steps, event.step
        self.started = self.logged = time.monotonic()
        resumed = f", {event.step} done before" if event.step else ""
        self.console.print(
            f"{event.steps} updates{resumed}; {event.parameters:,} parameters, "
            f"{event.multiply_adds / 1e9:.3g} G multiply-adds a patch; {event.device}"
        )
        self.bar.reset(self.task, total=event.steps, completed=event.step)

    def _log(self, step: int, what: str) -> None:
        """Print a line where there is no bar, at most one in `LOG_SECONDS`."""
        if self.console.is_terminal or time.monotonic() - self.logged < LOG_SECONDS:
            return
        self.logged = time.monotonic()
        pace = (self.logged - self.started) / max(step - self.first, 1)
        eta = duration((self.steps - step) * pace)
        self.console.print(f"{step}/{self.steps} updates, {what}, ETA {eta}")
