"""The data of a report: read from a run's ledger, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np

from ddgm.pipeline.figures import CLASSICAL, OURS
from ddgm.pipeline.report.figures import Series
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import AXES, Plan
from ddgm.pipeline.store.arrays import StoreError
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.tables.index import LedgerIndex
from ddgm.pipeline.store.tables.statistics import RunStatistics


@dataclass
class RunData:
    """Everything that a report says of a run, without the pictures.

    Attributes:
        columns: metrics and `block`, one value per finished slice.
        statistics: of all records.
        workers: names of the processes that did the blocks.
    """

    store: RunStore
    manifest: dict[str, Any]
    plan: Plan
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    statistics: RunStatistics = field(default_factory=RunStatistics)
    workers: set[str] = field(default_factory=set)

    @property
    def method(self) -> str:
        return self.plan.spec.method.title

    @property
    def names(self) -> dict[Layer, str]:
        """Names of the layers that are compared, in their order."""
        names = {"reconstruction": self.method, "truth": "Truth", "algebraic": "Algebraic"}
        return {
            layer: name for layer, name in names.items() if layer in self.plan.spec.output.layers
        }  # type: ignore[misc]

    @property
    def tilt_axis(self) -> str:
        return AXES[self.plan.axes[0]]

    @property
    def ranking(self) -> str:
        """The score that slices are ranked by: the MSE; the data residual where no truth is."""
        return "mse" if "mse" in self.columns else "residual"

    @property
    def ranking_title(self) -> str:
        return "MSE" if self.ranking == "mse" else "data residual"

    def series(self, metric: str) -> list[Series]:
        """A metric of the method and, where there is one, of the algebraic reconstruction."""
        both = (self.method, OURS, metric), ("Algebraic", CLASSICAL, f"algebraic_{metric}")
        return [Series(n, c, self.columns[key]) for n, c, key in both if key in self.columns]


def load_run_data(store: RunStore) -> RunData:
    """Read the ledger of a run.

    Raises:
        StoreError: there is no run, none of its blocks is done, or a record is no run's.
    """
    manifest = store.manifest()
    run = RunData(store, manifest, plan_of(manifest))
    parts: list[dict[str, np.ndarray]] = []
    for some in LedgerIndex(store.folder, manifest["digest"], run.plan.block_count).ended():
        run.statistics.add(some)
        run.workers.update(some.worker.tolist())
        parts.append({"block": some.slice_block.astype(float), **some.metrics})
    if not run.statistics.columns:
        failed, first = run.statistics.failed, run.statistics.failures[:1]
        why = f"{failed} failed, the first with: {first[0].cause}" if first else "none failed"
        raise StoreError(
            f"{store.root}: no block is done yet ({why}); run the spec, then ask for the report"
        )
    for name in ("block", *run.statistics.columns):
        run.columns[name] = np.concatenate(
            [part.get(name, np.full(len(part["block"]), nan)) for part in parts]
        )
    unnamed = np.isnan(run.columns.get("slice", np.array([nan])))
    if unnamed.any():
        raise StoreError(
            f"{store.root}: the record of block {run.columns['block'][unnamed.argmax()]:.0f} has "
            "scores of no slice; mend it with `ddgm repair`"
        )
    return run
