"""Arguments of a run's tasks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any

from ddgm.pipeline.spec.plan import Plan


@dataclass(frozen=True)
class RunContext:
    """The run, as passed to every task; small, and the same for all blocks.

    Attributes:
        plan: spec and volume.
        root: the run's folder.
        digest: of spec, code and weights; stamped on every record.
        code: hash of the driver's code, so that a worker with another version refuses.
        topic: of Dask's events, where workers tell this start of the run what they are at.
    """

    plan: Plan
    root: str
    digest: str
    code: str
    topic: str = ""

    def __reduce__(self) -> tuple[Callable[[bytes], RunContext], tuple[bytes]]:
        """Every task has it with it: as bytes, which a process makes a job of once."""
        return _context, (self._bytes,)

    @cached_property
    def _bytes(self) -> bytes:
        return pickle.dumps({field.name: getattr(self, field.name) for field in fields(self)})


@lru_cache(maxsize=8)
def _context(data: bytes) -> RunContext:
    parts: dict[str, Any] = pickle.loads(data)
    return RunContext(**parts)


@dataclass(frozen=True)
class BlockTask:
    """One try of a block.

    Attributes:
        block: its index.
        attempt: counted from 1.
        name: of this try, in task keys and in what the tasks say of it.
        calls: whether the pool's workers are asked for each network call.
    """

    block: int
    attempt: int = 1
    name: str = ""
    calls: bool = False
