"""Runs on the shared cluster, and ways to disturb them in the middle of a block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ddgm.pipeline.run.events import ClusterStatus, Event
from ddgm.pipeline.spec.model import Spec
from tests.pipeline.runs import small_spec
from tests.workers.shared import Shared

METHOD = {"steps": 12}  # half a second a block: time enough to be killed in
BLOCKS = 8


def spec_for(
    shared: Shared, root: Path, prior: Path, url: Path | str, **parts: dict[str, Any]
) -> Spec:
    """On the shared cluster; no part of another kind of cluster is left in it."""
    url = f"precomputed://file://{url}" if isinstance(url, Path) else url
    spec = small_spec(url, root, prior, method=METHOD, **parts)
    data = spec.model_dump() | {"cluster": shared.part}
    return Spec.model_validate(data)


class Events(list[Event]):
    """Keeps all events, and does something at the first that a condition holds for."""

    def __init__(self, condition: Callable[[Event], bool], action: Callable[[], object]) -> None:
        self.condition, self.action, self.acted = condition, action, False

    def __call__(self, event: Event) -> None:
        self.append(event)
        if not self.acted and self.condition(event):
            self.acted = True
            self.action()


def at_stage(stage: str, worker: str = "") -> Callable[[Event], bool]:
    """Whether an event tells that a worker is at a stage."""
    return lambda event: (
        isinstance(event, ClusterStatus)
        and any(r.stage == stage and worker in r.worker for r in event.active)
    )


@contextmanager
def withheld(chunk: Path) -> Iterator[None]:
    """A file that does not answer: whoever reads it waits until the context ends."""
    data = chunk.read_bytes()
    chunk.unlink()
    os.mkfifo(chunk)
    try:
        yield
    finally:
        with suppress(OSError), open(os.open(chunk, os.O_WRONLY | os.O_NONBLOCK), "wb") as pipe:
            kept = chunk.with_name("kept")
            kept.write_bytes(data)
            kept.replace(chunk)  # before the reader goes on, who may look again
            os.set_blocking(pipe.fileno(), True)
            pipe.write(data)
        if not chunk.is_file():  # nobody reads
            chunk.unlink()
            chunk.write_bytes(data)


def has_begun(root: Path, block: int) -> bool:
    """Whether a worker is at a block, or was, by its log."""
    return any(f'"begun", "block": {block},' in f.read_text() for f in root.glob("logs/*.jsonl"))
