"""A process at work on a stage of a block: it says so, keeps time, and writes its log."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ddgm.core.errors import DdgmError
from ddgm.pipeline.block.code import code_digest
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.errors import one_line
from ddgm.pipeline.store.log import worker_log

T = TypeVar("T")


NOT_COMPUTED = "fetch", "load", "write"  # steps that wait for bytes


class CodeError(DdgmError):
    """A worker that would compute something else than the driver means."""


@contextmanager
def running_stage(context: RunContext, task: BlockTask, stage: str) -> Iterator[Clock]:
    """Report the stage's start and end to the driver; yields a clock.

    Raises:
        CodeError: this process has other code than the driver.
    """
    if code_digest() != context.code:
        raise CodeError(
            f"cluster: {worker_name()} has another version of ddgm than the one that started the "
            "run; install the same on all machines"
        )
    clock, log = Clock(), worker_log(context.root, worker_name())
    about = {"block": task.block, "attempt": task.attempt, "stage": stage}
    report_to_driver(context.topic, {"task": task.name, "stage": stage})
    log("begun", **about)
    try:
        yield clock
    except Exception as error:
        log("failed", **about, cause=one_line(error))
        raise
    else:
        log("ended", **about, seconds=clock.seconds)
    finally:
        report_to_driver(context.topic, {"task": task.name, "stage": ""})


def report_to_driver(topic: str, message: dict[str, str]) -> None:
    """Tell the driver, if a Dask worker does the saying and a driver wants to hear."""
    from distributed import get_worker

    with suppress(ValueError):
        worker = get_worker()
        worker.log_event(topic, {**message, "worker": worker.address})


def release_slot() -> None:
    """Let the worker begin another task while this one waits for bytes."""
    from distributed import get_worker, secede

    with suppress(ValueError):
        get_worker()
        secede()


def sum_seconds(*parts: dict[str, float]) -> dict[str, float]:
    """Seconds by name, over all parts."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: round(sum(p.get(name, 0.0) for p in parts), 4) for name in names}


@dataclass(frozen=True)
class StageOutput(Generic[T]):
    """Output of a stage in numpy, with what it cost.

    Attributes:
        data: the output.
        seconds: of its steps, by name.
        on_gpu: whether they were computed on a GPU.
        read: requests, bytes and hits in the cache, of the source.
    """

    data: T
    seconds: dict[str, float]
    on_gpu: bool = False
    read: dict[str, int] = field(default_factory=dict)


class Clock:
    """Seconds spent under each name: `with clock("fetch"): …`.

    Attributes:
        seconds: by name.
        on_gpu: whether this process computes on a GPU.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.on_gpu = False

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 4)


def computed(part: StageOutput[Any] | Clock) -> dict[str, float]:
    """Seconds that were spent computing on a GPU, by name."""
    return {k: v for k, v in part.seconds.items() if part.on_gpu and k not in NOT_COMPUTED}


def worker_name() -> str:
    """This process's name in the cluster, or its host and number."""
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:
        return f"{socket.gethostname()}-{os.getpid()}"
