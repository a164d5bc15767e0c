"""The ledger: a record for each block, by which a run resumes and is verified."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

State = Literal["done", "failed"]


@dataclass(frozen=True)
class Record:
    """One block's record.

    Attributes:
        block: its index in the plan.
        digest: hash of spec, code and weights; a record of another digest counts for nothing.
        state: `done` only after all of the block's data is in place.
        attempts: how often the block was begun, this time included.
        checksums: of the data as written, by layer.
        missing_voxels: source voxels that were not there and were filled.
        metrics: one mapping per slice, see `stages.score`.
        seconds: spent in each stage.
        worker: name of the process that did it.
        finished: when, in UTC (ISO 8601).
        cause: why it failed: one line.
        detail: the end of the traceback, for a failure.
        peak: most bytes that the process which wrote it had ever held.
    """

    block: int
    digest: str
    state: State
    attempts: int = 1
    checksums: dict[str, str] = field(default_factory=dict)
    missing_voxels: int = 0
    metrics: list[dict[str, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    worker: str = ""
    finished: str = ""
    cause: str = ""
    detail: str = ""
    peak: int = 0

    def to_json(self) -> bytes:
        """The record as JSON, as it lies in the ledger."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Record | None:
        """Read back; None for what a power cut left of one: such a block is not done."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None
