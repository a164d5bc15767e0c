"""Logs of a training: two tables that continue over restarts, and its pictures."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from ddgm.core.files import atomic_path
from ddgm.core.training.events import Event, Started, Stepped, Validated


@dataclass(frozen=True)
class Table:
    """A CSV file whose first column counts updates."""

    path: Path

    def rows(self) -> list[dict[str, float]]:
        """All rows, in order of their updates; none where there is no file."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as f:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]

    def append(self, row: dict[str, float]) -> None:
        """Add a row, and the heading before the first."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as f:
            writer = csv.DictWriter(f, row, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})

    def cut(self, step: int) -> None:
        """Drop what came after update `step`: a training that goes on from there repeats it."""
        rows = self.rows()
        kept = [row for row in rows if row["step"] <= step]
        if len(kept) == len(rows):
            return
        if not kept:
            self.path.unlink()
            return
        with atomic_path(self.path) as partial:
            for row in kept:
                Table(partial).append(row)


class TrainingLog:
    """Observes a training: `loss.csv`, `validation.csv`, and a picture of each kind, renewed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses, self.validations = Table(folder / "loss.csv"), Table(folder / "validation.csv")

    def __call__(self, event: Event) -> None:
        """Write what the event says."""
        if isinstance(event, Started):
            self.losses.cut(event.step)
            self.validations.cut(event.step)
        elif isinstance(event, Stepped):
            self.losses.append(
                {
                    "step": event.step,
                    "loss": event.loss,
                    "lr": event.lr,
                    "patches_per_second": event.patches_per_second,
                    "waiting": event.waiting,
                }
            )
        elif isinstance(event, Validated):
            errors = {f"error_{sigma:g}": e for sigma, e in event.errors.items()}
            scores = {} if math.isnan(event.mse) else {"mse": event.mse, "ratio": event.ratio}
            self.validations.append({"step": event.step, **errors, **scores})
            self._draw(event)

    def _draw(self, event: Validated) -> None:
        from ddgm.pipeline.training import figures

        for name, image in event.pictures.items():
            (self.folder / f"{name}.png").write_bytes(figures.picture(name, image, event.step))
        png = figures.curves(self.losses.rows(), self.validations.rows())
        (self.folder / "curves.png").write_bytes(png)
