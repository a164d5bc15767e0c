"""Which driver a run belongs to, where the processes are not on one machine."""

from __future__ import annotations

import errno
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddgm.pipeline.store import files, process
from ddgm.pipeline.store import lock as lock_module
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.lock import Driver, LockError, WatchedDriver


def test_a_driver_on_another_machine_is_known_to_live_by_its_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 4.0)
    folder = Folder(str(tmp_path / "run"))
    with lock_module.run_lock(folder):
        monkeypatch.setattr(process, "machine", lambda: "another boot/1")
        with pytest.raises(LockError, match="wait for it, stop it"), lock_module.run_lock(folder):
            pass
        monkeypatch.undo()
    dead = Driver("a" * 32, "elsewhere", "another boot/1", 1, 0, beats=7).to_json()
    folder.write("driver.json", dead)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 1.5)
    with lock_module.run_lock(folder) as lock:
        lock.check()
        assert folder.read("driver.json") != dead
    assert folder.read("driver.json") is None


def test_a_driver_elsewhere_is_watched_until_its_beats_have_long_ceased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(lock_module, "time", SimpleNamespace(monotonic=lambda: now))
    folder = Folder(str(tmp_path))
    watched = WatchedDriver(folder)
    assert not watched.lives()
    there = Driver("a" * 32, "elsewhere", "another boot/1", 1, 0, beats=7)
    folder.write("driver.json", there.to_json())
    assert watched.lives()
    now = lock_module.STALE_SECONDS - 1
    assert watched.lives()
    folder.write("driver.json", replace(there, beats=8).to_json())
    assert watched.lives()
    now += lock_module.STALE_SECONDS - 1
    assert watched.lives()
    now += 2
    assert not watched.lives()


def test_a_run_is_left_on_a_disk_that_has_no_room_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))

    def full(path: Path, data: bytes) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with lock_module.run_lock(folder):
        monkeypatch.setattr(files, "create_whole", full)
    assert folder.names("") == []


def test_a_driver_that_was_taken_for_dead_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    folder = Folder(str(tmp_path))
    theirs = Driver("b" * 32, "elsewhere", "another boot/1", 1).to_json()
    with lock_module.run_lock(folder) as lock:
        folder.write("driver.json", theirs)

        def drive() -> None:
            for _ in range(6000):  # a minute
                lock.check()
                time.sleep(0.01)

        with pytest.raises(LockError, match="taken this run over"):
            drive()
    assert folder.read("driver.json") == theirs
