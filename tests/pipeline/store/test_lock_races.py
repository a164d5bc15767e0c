"""The run lock under a race: of many processes that want it at once, never two hold it."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from ddgm.pipeline.store import process
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.lock import NAME, Driver, LockError, driver, run_lock

ROUNDS = 20  # 500 were run by hand; see docs/decisions.md
PROCESSES = 4


def race(root: Path, rounds: int, barrier: Barrier) -> None:
    """Try to hold the lock once a round, and note each time that somebody else does, too."""
    for round_ in range(rounds):
        folder = root / str(round_)
        barrier.wait(60)
        try:
            with run_lock(Folder(str(folder))):
                fd = os.open(folder / "held", os.O_CREAT | os.O_EXCL)
                os.close(fd)
                time.sleep(0.002)
                os.unlink(folder / "held")
                (folder / f"had-{os.getpid()}").touch()
        except LockError:
            pass
        except FileExistsError:
            (folder / "two-at-once").touch()


def dead_driver() -> bytes:
    """What a process of this machine that has ended left."""
    return Driver("d" * 32, "here", process.machine(), os.getpid(), ticks=1).to_json()


@pytest.mark.process
def test_never_two_hold_the_lock(tmp_path: Path) -> None:
    run_races(tmp_path, ROUNDS)


def run_races(root: Path, rounds: int) -> None:
    for round_ in range(0, rounds, 2):  # every other one has a dead driver's file
        Folder(str(root / str(round_))).write(NAME, dead_driver())
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    racers = [context.Process(target=race, args=(root, rounds, barrier)) for _ in range(PROCESSES)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(600)
    assert [racer.exitcode for racer in racers] == [0] * PROCESSES
    assert not list(root.glob("*/two-at-once"))
    for round_ in range(rounds):
        left = {p.name.partition("-")[0] for p in (root / str(round_)).iterdir()}
        assert left == {"had"}, "one at least had it, and nothing else is left"


def test_the_clock_has_no_part_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path))
    with run_lock(folder):
        monkeypatch.setattr(time, "time", lambda: 0.0)
        with pytest.raises(LockError, match="is being written by"), run_lock(folder):
            pass


def test_a_process_number_that_was_given_again_is_another_process(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write(NAME, dead_driver())
    assert driver(folder) is None
    with run_lock(folder):
        assert (found := driver(folder)) is not None
        assert found.ticks == process.start_ticks(os.getpid())


def test_one_who_died_while_taking_over_is_taken_over(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write(NAME, dead_driver())
    died = Driver("e" * 32, "here", process.machine(), os.getpid(), ticks=2)
    folder.write(f"{NAME}.{'d' * 32}.takeover", died.to_json())
    with run_lock(folder):
        assert folder.names("") == [NAME]
    assert folder.names("") == []


@pytest.mark.parametrize(
    "odd",
    [b"", b"null", b"[1]", b'{"pid": "x"}', b"[" * 100_000, b'{"token": "../../x", "pid": 1}',
     b'{"token": "' + b"a" * 32 + b'", "pid": 1e300}'],
)  # fmt: skip
def test_a_driver_json_that_no_driver_wrote_is_nobodys(tmp_path: Path, odd: bytes) -> None:
    folder = Folder(str(tmp_path))
    folder.write(NAME, odd)
    assert driver(folder) is None
    with run_lock(folder):
        assert driver(folder) is not None
    assert folder.names("") == []
