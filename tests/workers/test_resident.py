"""What a process keeps between tasks: each thing once, and not for ever."""

from __future__ import annotations

import threading
import time

import pytest

from ddgm.workers import resident as module
from ddgm.workers.resident import KEPT, resident


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_objects", type(module._objects)())


def test_a_thing_is_built_once_however_many_threads_ask() -> None:
    built: list[int] = []

    def build() -> object:
        time.sleep(0.05)
        built.append(1)
        return object()

    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(resident("a", build))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(set(map(id, found))) == 1


def test_the_longest_unused_goes_first() -> None:
    for i in range(KEPT):
        resident(i, lambda i=i: [i])
    first = resident(0, lambda: ["built again"])
    resident("new", list)
    assert resident(0, lambda: ["built again"]) is first
    assert resident(1, lambda: ["built again"]) == ["built again"]


def test_building_may_ask_for_other_things() -> None:
    assert resident("outer", lambda: [*resident("inner", lambda: [1]), 2]) == [1, 2]


def test_a_failure_is_not_kept() -> None:
    with pytest.raises(ZeroDivisionError):
        resident("a", lambda: 1 // 0)
    assert resident("a", lambda: 5) == 5
