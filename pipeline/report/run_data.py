"""The data of a report: read from a run's ledger, block by block."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ddgm.pipeline.figures import CLASSICAL, OURS
from ddgm.pipeline.report.figures import Series
from ddgm.pipeline.spec.plan import AXES, Plan
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore, StoreError

SHOWN = 50  # failures that are listed; a run can have very many


@dataclass
class RunData:
    """Everything that a report says of a run, without the pictures.

    Attributes:
        columns: metrics and `block`, one value per finished slice.
        failed: records of failed blocks, the first `SHOWN`.
        states: how many blocks are done and how many failed.
        seconds: spent in each stage, by all blocks together.
    """

    store: RunStore
    manifest: dict[str, Any]
    plan: Plan
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    failed: list[Record] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    workers: set[str] = field(default_factory=set)
    missing_voxels: int = 0
    retried: int = 0

    @property
    def method(self) -> str:
        return self.plan.spec.method.title

    @property
    def tilt_axis(self) -> str:
        return AXES[self.plan.axes[0]]

    def series(self, metric: str) -> list[Series]:
        """A metric of the method and, where there is one, of the algebraic reconstruction."""
        both = (self.method, OURS, metric), ("Algebraic", CLASSICAL, f"algebraic_{metric}")
        return [Series(n, c, self.columns[key]) for n, c, key in both if key in self.columns]


def load_run_data(store: RunStore) -> RunData:
    """Read the ledger of a run.

    Raises:
        StoreError: there is no run, or none of its blocks is done.
    """
    manifest = store.manifest()
    run = RunData(store, manifest, plan_of(manifest))
    columns: dict[str, array[float]] = {}
    for record in store.records():
        if record.digest != manifest["digest"]:
            continue  # of another spec, code or weights: counts for nothing
        run.states[record.state] += 1
        if record.state == "failed":
            if len(run.failed) < SHOWN:
                run.failed.append(record)
            continue
        run.seconds.update(record.seconds)  # type: ignore[arg-type]
        run.workers.add(record.worker)
        run.missing_voxels += record.missing_voxels
        run.retried += record.attempts > 1
        for row in record.metrics:
            for key, value in {"block": record.block, **row}.items():
                columns.setdefault(key, array("d")).append(value)
    run.columns = {key: np.asarray(values) for key, values in columns.items()}
    if "mse" not in columns:
        failed = run.states["failed"]
        why = f"{failed} failed, the first with: {run.failed[0].cause}" if failed else "none failed"
        raise StoreError(
            f"{store.root}: no block is done yet ({why}); run the spec, then ask for the report"
        )
    return run
