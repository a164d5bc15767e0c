"""What is built once per geometry is built once, whole, whoever asks."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors import matrix
from ddgm.core.projectors.cache import BUILD, Arrays, cache_folder, cached

FILE = f"a-{BUILD}.npz"
PROCESSES = 3
GEOMETRY = TiltGeometry.uniform(8, 10, 6)


def small() -> Arrays:
    return {"a": np.arange(1000.0), "b": np.array(3.5)}


def never() -> Arrays:
    raise AssertionError("built again")


def equal(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def ask_at_once(folder: Path, barrier: Barrier) -> None:
    """What each process does: log if it builds, slowly, and leave what it got in a file."""

    def build() -> Arrays:
        with (folder / "builds.log").open("a") as f:
            f.write(f"{os.getpid()}\n")
        time.sleep(0.5)
        return matrix._build(GEOMETRY)

    barrier.wait(120)
    arrays = cached("shared", build, folder / "cache")
    np.savez(folder / f"{os.getpid()}.npz", **arrays)  # type: ignore[arg-type]


@pytest.mark.process
def test_processes_that_ask_at_once_build_once_and_get_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    processes = [
        context.Process(target=ask_at_once, args=(tmp_path, barrier)) for _ in range(PROCESSES)
    ]
    for p in processes:
        p.start()
    for p in processes:
        p.join(180)
    assert [p.exitcode for p in processes] == [0] * PROCESSES
    assert len((tmp_path / "builds.log").read_text().splitlines()) == 1
    got = [dict(np.load(path)) for path in tmp_path.glob("*.npz")]
    assert len(got) == PROCESSES
    assert all(equal(arrays, matrix._build(GEOMETRY)) for arrays in got)
    left = {p.name for p in (tmp_path / "cache").iterdir()}
    assert left == {f"shared-{BUILD}.npz", "shared.lock"}


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    cached("a", small, tmp_path)
    assert equal(cached("a", never, tmp_path), small())


def test_each_name_is_its_own(tmp_path: Path) -> None:
    cached("a", small, tmp_path)
    assert equal(cached("b", lambda: {"c": np.ones(2)}, tmp_path), {"c": np.ones(2)})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_built_again(tmp_path: Path, share: float) -> None:
    cached("a", small, tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(share * len(whole))])
    assert equal(cached("a", small, tmp_path), small())
    assert equal(cached("a", never, tmp_path), small())


@pytest.mark.parametrize("garbage", [b"garbage", b"\x80\x04garbage", b"PK\x03\x04garbage" * 99])
def test_a_garbage_file_is_built_again(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE).write_bytes(garbage)
    assert equal(cached("a", small, tmp_path), small())


def test_a_file_of_another_kind_is_built_again(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as f:
        np.save(f, np.ones(3))
    assert equal(cached("a", small, tmp_path), small())


def test_no_flipped_bit_in_the_numbers_goes_unseen(tmp_path: Path) -> None:
    cached("a", small, tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(1000, 8000, size=150):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / FILE).write_bytes(damaged)
        assert equal(cached("a", small, tmp_path), small()), at


def test_a_build_that_fails_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        cached("a", never, tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]
    assert equal(cached("a", small, tmp_path), small())


def test_a_write_that_fails_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(f: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        cached("a", small, tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


@pytest.mark.process
def test_a_builder_that_dies_holds_no_lock(tmp_path: Path) -> None:
    if (child := os.fork()) == 0:
        cached("a", lambda: os._exit(1), tmp_path)
    os.waitpid(child, 0)
    assert equal(cached("a", small, tmp_path), small())


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDGM_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("DDGM_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "ddgm"
