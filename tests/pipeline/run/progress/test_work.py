"""What a worker is at reaches the driver with its heartbeats."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from ddgm.core.process_work import Work, under_way, work
from ddgm.workers.members import WORK, current_workers, workers_from
from tests.processes import wait_for
from tests.workers.shared import Shared

pytestmark = pytest.mark.cluster


def count_to_three(seconds: float) -> None:
    with work("reconstructing block 7", 4, "attempt-7") as step:
        step(3)
        time.sleep(seconds)


def test_the_driver_sees_the_steps_of_a_task_while_it_runs(shared: Shared) -> None:
    shared.whole()
    task = shared.client.submit(count_to_three, 3600.0, pure=False)

    def seen() -> Work | None:
        workers = current_workers(shared.client).running.values()
        return next((w for info in workers for w in info.work if w.task == "attempt-7"), None)

    try:
        found = wait_for(seen)
    finally:
        shared.client.cancel(task, force=True)
        shared.client.restart_workers([*current_workers(shared.client).running])
    assert found is not None
    assert (found.what, found.done, found.total) == ("reconstructing block 7", 3, 4)


@pytest.mark.parametrize("said", [None, 7, "text", [["reconstructing"]], [[1, "x", 2, "", 0.0]]])
def test_a_worker_that_says_something_else_is_listed_all_the_same(said: Any) -> None:
    identity = {
        "name": "cpu-0",
        "nthreads": 1,
        "memory_limit": 0,
        "resources": {},
        "status": "running",
        "metrics": {WORK: said},
    }
    (worker,) = workers_from({"tcp://a": identity}).running.values()
    assert worker.work == ()


def test_work_is_under_way_until_it_ends_or_fails() -> None:
    with ExitStack() as stack:
        step = stack.enter_context(work("building A", 2))
        step(1)
        assert [(w.what, w.done, w.total) for w in under_way()] == [("building A", 1, 2)]
        stack.enter_context(suppress(ZeroDivisionError))
        stack.callback(lambda: 1 // 0)
    assert under_way() == []
