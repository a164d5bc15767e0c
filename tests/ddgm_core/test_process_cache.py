"""What a process keeps between tasks: each thing once, and not for ever."""

from __future__ import annotations

import threading
import time

import pytest

from ddgm.core import process_cache as module
from ddgm.core.process_cache import KEPT, cached_in_process


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_entries", type(module._entries)())


def test_a_thing_is_built_once_however_many_threads_ask() -> None:
    built: list[int] = []

    def build() -> object:
        time.sleep(0.05)
        built.append(1)
        return object()

    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(cached_in_process("a", build)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(set(map(id, found))) == 1


def test_the_longest_unused_goes_first() -> None:
    for i in range(KEPT):
        cached_in_process(i, lambda i=i: [i])
    first = cached_in_process(0, lambda: ["built again"])
    cached_in_process("new", list)
    assert cached_in_process(0, lambda: ["built again"]) is first
    assert cached_in_process(1, lambda: ["built again"]) == ["built again"]


def test_building_may_ask_for_other_things() -> None:
    assert cached_in_process("outer", lambda: [*cached_in_process("inner", lambda: [1]), 2]) == [
        1,
        2,
    ]


def test_what_is_being_built_keeps_nobody_from_other_things() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def build() -> str:
        begun.set()
        assert go_on.wait(60)
        return "slow"

    thread = threading.Thread(target=lambda: cached_in_process("slow", build))
    thread.start()
    assert begun.wait(60)
    other = threading.Thread(target=lambda: cached_in_process("other", go_on.set))
    other.start()
    other.join(30)
    waited = other.is_alive()
    go_on.set()
    thread.join()
    assert not waited


def test_a_failure_is_not_kept() -> None:
    with pytest.raises(ZeroDivisionError):
        cached_in_process("a", lambda: 1 // 0)
    assert cached_in_process("a", lambda: 5) == 5
