"""Small runs, their reports, and changes to what a report is made of."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.pages import Page

WIDTH, THICKNESS, FIRST = 140, 32, 7
ALL = ("reconstruction", "truth", "algebraic", "sinogram")


def make(
    root: Path,
    name: str,
    layers: tuple[str, ...] = ALL,
    blocks: int = 2,
    volume: str = "volume",
    slab: dict[str, str] | None = None,
    prior: dict[str, Any] | None = None,
    planes: str = "slice",
    **tilts: Any,
) -> str:
    """The folder of a run of the first blocks of a volume."""
    spec = {
        "source": {"url": f"precomputed://file://{root}/{volume}"},
        "output": {"path": str(root / name), "layers": layers},
        "slab": {"thickness": THICKNESS, **(slab or {})},
        "prior": {"weights": str(root / "prior.safetensors"), **(prior or {})},
        "method": {"name": "ddgm", "steps": 2, "gradient_steps": 2, "planes": planes},
        "algebraic": {"gradient_steps": 5},
        "block": {"slices": 4, "batch": 4, "halo": 2},
        "tilts": {"count": 24, **tilts},
    }
    for block in range(blocks):
        run_alone(Spec.model_validate(spec), block)
    return str(root / name)


def page(root: str) -> Page:
    write_report(root)
    return Page((Path(root) / "report.html").read_text())


def ledger(root: str) -> list[dict[str, Any]]:
    """Straight from the files, past the code that the report uses."""
    return [json.loads(p.read_text()) for p in sorted(Path(root).glob("ledger/*/*.json"))]


def change_metrics(root: str, metric: str, values: list[float]) -> None:
    """Puts other values of a metric into the ledger, slice by slice."""
    left = iter(values)
    for record in list(RunStore(root).ledger.records()):
        rows = [{**row, metric: next(left)} for row in record.metrics]
        RunStore(root).ledger.put(replace(record, metrics=rows))


def change_manifest(root: str, change: Any) -> None:
    manifest = RunStore(root).manifest()
    change(manifest)
    RunStore(root).write_manifest(manifest)


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+\.\d+", text)]
