"""Ended blocks as columns: all that is counted of their records, without an object for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from math import nan

import numpy as np

from ddgm.pipeline.store.ledger import Record

NUMBERS = "attempts", "missing_voxels", "peak"  # fields of a record that are a number
GROUPS = "seconds", "gpu_seconds", "sizes", "read"  # of a number for each of some names

PLAIN = "block", "finished", "worker", "slice_block"  # columns of their own

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class EndedBlocks:
    """Blocks that have ended: a row of each that is done, and the records of those that failed.

    Attributes:
        block: which are done, (n,).
        finished: when, in seconds since 1970; NaN where a record does not say.
        worker: who did it.
        numbers: a column of each field of `NUMBERS`.
        groups: the columns of each field of `GROUPS`, by name; NaN where a record lacks it.
        slice_block: the block of each slice, (m,).
        metrics: a column of each metric, one value for each slice; NaN where a record lacks it.
        failed: records of the blocks that failed.
    """

    block: np.ndarray
    finished: np.ndarray
    worker: np.ndarray
    numbers: Columns
    groups: dict[str, Columns]
    slice_block: np.ndarray
    metrics: Columns
    failed: tuple[Record, ...] = ()

    @classmethod
    def of(cls, records: Iterable[Record]) -> EndedBlocks:
        """The columns of some records."""
        found = list(records)
        done = [record for record in found if record.state == "done"]
        block = np.array([record.block for record in done], np.int64)
        return cls(
            block,
            np.array([_moment(record.finished) for record in done], float),
            np.array([record.worker for record in done], np.str_),
            {name: np.array([getattr(r, name) for r in done], np.int64) for name in NUMBERS},
            {name: _columns([getattr(r, name) for r in done]) for name in GROUPS},
            np.repeat(block, [len(record.metrics) for record in done]),
            _columns([row for record in done for row in record.metrics]),
            tuple(record for record in found if record.state != "done"),
        )

    def where(self, kept: np.ndarray) -> EndedBlocks:
        """The same without the rows of some done blocks.

        Args:
            kept: whether each row stays, (n,).
        """
        if kept.all():
            return self
        rows = np.isin(self.slice_block, self.block[kept])

        def part(columns: Columns, chosen: np.ndarray) -> Columns:
            return {name: values[chosen] for name, values in columns.items()}

        return replace(
            self,
            block=self.block[kept],
            finished=self.finished[kept],
            worker=self.worker[kept],
            numbers=part(self.numbers, kept),
            groups={name: part(columns, kept) for name, columns in self.groups.items()},
            slice_block=self.slice_block[rows],
            metrics=part(self.metrics, rows),
        )

    def arrays(self) -> Columns:
        """Every column by a name of its own; `from_arrays` makes the same of them."""
        folders = {"numbers": self.numbers, "metrics": self.metrics, **self.groups}
        found: Columns = {name: getattr(self, name) for name in PLAIN}
        for folder, columns in folders.items():
            found |= {f"{folder}/{name}": values for name, values in columns.items()}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> EndedBlocks:
        """The blocks of `arrays`.

        Raises:
            KeyError: they are another version's.
        """

        def below(folder: str) -> Columns:
            found = (name.split("/", 1) for name in arrays if name.startswith(f"{folder}/"))
            return {name: arrays[f"{folder}/{name}"] for _, name in found}

        block, finished, worker, slice_block = (arrays[name] for name in PLAIN)
        return cls(
            block,
            finished,
            worker,
            {name: arrays[f"numbers/{name}"] for name in NUMBERS},
            {name: below(name) for name in GROUPS},
            slice_block,
            below("metrics"),
        )


def _columns(rows: Sequence[Mapping[str, float]]) -> Columns:
    names = dict.fromkeys(chain.from_iterable(rows))
    return {name: np.array([row.get(name, nan) for row in rows], float) for name in names}


def _moment(finished: str) -> float:
    return datetime.fromisoformat(finished).timestamp() if finished else nan
