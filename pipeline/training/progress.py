"""Progress of a training: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import math

from rich.console import Console

from ddgm.core.training.events import Event, Started, Stepped, Validated
from ddgm.pipeline.progress_bar import ProgressBar


class TrainingProgress(ProgressBar):
    """Observes a training; use as a context."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "updates")
        self.steps = self.first = 0

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
            self.log(lambda: self._line(event.step, what))
        elif isinstance(event, Validated):
            self.console.print(f"update {event.step}: {_scores(event)}")

    def _start(self, event: Started) -> None:
        self.steps, self.first = event.steps, event.step
        resumed = f", {event.step} done before" if event.step else ""
        self.console.print(
            f"{event.steps} updates{resumed}; {event.parameters:,} parameters, "
            f"{event.multiply_adds / 1e9:.3g} G multiply-adds a patch; {event.device}"
        )
        self.begin(event.steps, event.step)

    def _line(self, step: int, what: str) -> str:
        eta = self.eta(step - self.first, self.steps - step)
        return f"{step}/{self.steps} updates, {what}, {eta}"


def _scores(event: Validated) -> str:
    compared = f"MSE {event.mse:.4f}, {event.ratio:.3f} of gradient descent's"
    if not event.errors:
        return compared
    errors = "noise error " + ", ".join(f"{e:.4g} at {s:g}" for s, e in event.errors.items())
    return errors if math.isnan(event.mse) else f"{errors}; DDGM {compared}"
