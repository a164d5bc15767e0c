"""The outcome of a run's latest start: RUN/outcome.json, for those who look from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ddgm.core.errors import Failure
from ddgm.pipeline.errors import EXIT_STATUS, failure_of, one_line
from ddgm.pipeline.run.result import RunResult
from ddgm.pipeline.store.files import FolderError
from ddgm.pipeline.store.run_store import MANIFEST, OUTCOME, RunStore
from ddgm.pipeline.store.sealed import DamagedError, seal, unseal


@dataclass(frozen=True)
class Outcome:
    """The end of a start of a run.

    Attributes:
        kind: of failure, or `done`.
        status: that `ddgm run` exits with.
        message: the line that it prints, if it failed.
        ended: when.
    """

    kind: Failure | Literal["done"]
    status: int
    message: str
    ended: str

    @classmethod
    def of(cls, kind: Failure | Literal["done"], message: str = "") -> Outcome:
        """The outcome of what ends now."""
        status = 0 if kind == "done" else EXIT_STATUS[kind]
        return cls(kind, status, message, datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of_error(cls, error: BaseException) -> Outcome:
        """The outcome of what an error ends now."""
        interrupted = isinstance(error, KeyboardInterrupt)
        return cls.of(failure_of(error), "stopped at once" if interrupted else one_line(error))


@contextmanager
def outcome_written(store: RunStore, digest: str, result: RunResult) -> Iterator[None]:
    """Write down how the context ends; the run lock must be held."""
    store.folder.delete(OUTCOME)
    try:
        yield
    except BaseException as error:
        _write(store, digest, Outcome.of_error(error))
        raise
    failed = f"{result.failures} of {result.blocks} blocks failed"
    _write(store, digest, Outcome.of("blocks", failed) if result.failures else Outcome.of("done"))


def read_outcome(store: RunStore, digest: str) -> Outcome | None:
    """The outcome of a run's latest start; None while it goes on, or if its driver was killed."""
    try:
        found: dict[str, Any] = unseal(store.folder.read(OUTCOME) or b"")
        return Outcome(**found["outcome"]) if found["digest"] == digest else None
    except (DamagedError, FolderError, KeyError, TypeError):
        return None


def _write(store: RunStore, digest: str, outcome: Outcome) -> None:
    """Write it, unless there is no run yet, or it is another driver's now, or its disk is full."""
    with suppress(OSError, FolderError):
        if outcome.kind != "locked" and store.folder.size(MANIFEST):
            store.folder.write(OUTCOME, seal({"digest": digest, "outcome": asdict(outcome)}))
