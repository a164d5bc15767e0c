"""The section of a report on membranes and bodies: what `ddgm evaluate` found."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.store.run_store import EVALUATION

HEAD = (
    "image", "F1 at 2 voxels", "along the beam", "oblique", "across the beam", "VI split",
    "VI merge", "VI", "adapted Rand",
)  # fmt: skip
TEXT = (
    "Membranes that a small network finds in each image, and bodies that a watershed makes of "
    "them, held against the true labels {labels} in {box}. The row Truth is the best that this "
    "network and watershed can do; F1 along and across the beam is that of membranes at 0 to 30 "
    "and 60 to 90 degrees to it. VI is in bits: lower is better, as of adapted Rand."
)


@dataclass(frozen=True)
class BodiesSection:
    """A paragraph, and a table of the images' scores."""

    text: str
    head: tuple[str, ...]
    rows: list[list[str]]


def bodies_section(run: RunData) -> BodiesSection | None:
    """The section on membranes and bodies; None of a run that was not evaluated."""
    data = run.store.folder.read(EVALUATION)
    if data is None:
        return None
    found = json.loads(data)
    rows = []
    for layer, name in run.names.items():
        if layer in found["bodies"]:
            f1 = [score["f1"] for score in found["boundaries"][layer]["2"].values()]
            bodies = [found["bodies"][layer][k] for k in ("split", "merge", "vi", "rand")]
            rows.append([name, *(f"{value:.3f}" for value in (*f1, *bodies))])
    text = TEXT.format(labels=found["labels"], box=found["box"])
    return BodiesSection(text, HEAD, rows)
