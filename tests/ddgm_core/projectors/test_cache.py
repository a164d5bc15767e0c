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
from ddgm.core.projectors import cache, matrix
from ddgm.core.projectors.cache import BUILD, Arrays, cache_folder, cached

PROCESSES = 3
GEOMETRY = TiltGeometry.uniform(8, 10, 6)
NAME = f"{GEOMETRY.digest[:24]}-{BUILD}"
FILE = f"a-{NAME}.npz"


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
    arrays = cached("shared", GEOMETRY, build, folder / "cache")
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
    assert left == {f"shared-{NAME}.npz", f"shared-{NAME}.lock"}


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    cached("a", GEOMETRY, small, tmp_path)
    assert equal(cached("a", GEOMETRY, never, tmp_path), small())


def test_each_name_is_its_own(tmp_path: Path) -> None:
    cached("a", GEOMETRY, small, tmp_path)
    assert equal(cached("b", GEOMETRY, lambda: {"c": np.ones(2)}, tmp_path), {"c": np.ones(2)})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_built_again(tmp_path: Path, share: float) -> None:
    cached("a", GEOMETRY, small, tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(share * len(whole))])
    assert equal(cached("a", GEOMETRY, small, tmp_path), small())
    assert equal(cached("a", GEOMETRY, never, tmp_path), small())


@pytest.mark.parametrize("garbage", [b"garbage", b"\x80\x04garbage", b"PK\x03\x04garbage" * 99])
def test_a_garbage_file_is_built_again(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / FILE).write_bytes(garbage)
    assert equal(cached("a", GEOMETRY, small, tmp_path), small())


def test_a_file_of_another_kind_is_built_again(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as f:
        np.save(f, np.ones(3))
    assert equal(cached("a", GEOMETRY, small, tmp_path), small())


def test_no_flipped_bit_in_the_numbers_goes_unseen(tmp_path: Path) -> None:
    cached("a", GEOMETRY, small, tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(1000, 8000, size=150):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / FILE).write_bytes(damaged)
        assert equal(cached("a", GEOMETRY, small, tmp_path), small()), at


def test_a_build_that_fails_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        cached("a", GEOMETRY, never, tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]
    assert equal(cached("a", GEOMETRY, small, tmp_path), small())


def test_what_cannot_be_written_is_built_and_used_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(f: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert equal(cached("a", GEOMETRY, small, tmp_path), small())
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]
    assert f"not kept in {tmp_path} ([Errno 28]" in caplog.text
    assert "set DDGM_CACHE" in caplog.text


@pytest.mark.parametrize("place", ["file", "file/below", "folder of its name", "no home"])
def test_a_cache_that_cannot_be_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    (tmp_path / "file").touch()
    if place == "folder of its name":
        (tmp_path / FILE / "x").mkdir(parents=True)
        monkeypatch.setenv("DDGM_CACHE", str(tmp_path))
    elif place == "no home":
        monkeypatch.setenv("DDGM_CACHE", "~nobody-of-this-name/cache")
    else:
        monkeypatch.setenv("DDGM_CACHE", str(tmp_path / place))
    assert equal(cached("a", GEOMETRY, small), small())
    assert len(caplog.records) == 1


def test_a_file_system_without_locks_keeps_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(cache.fcntl, "flock", none)
    cached("a", GEOMETRY, small, tmp_path)
    assert equal(cached("a", GEOMETRY, never, tmp_path), small())


@pytest.mark.parametrize("wrong", ["geometry", "values", "shape", "version", "no label"])
def test_a_whole_file_of_something_else_is_built_again(tmp_path: Path, wrong: str) -> None:
    cached("a", GEOMETRY, small, tmp_path)
    path = tmp_path / FILE
    with np.load(path) as f:
        arrays = dict(f)
    if wrong == "geometry":
        other = TiltGeometry.uniform(8, 10, 7)
        cached("a", other, lambda: {"a": np.zeros(1000), "b": np.array(1.0)}, tmp_path)
        (tmp_path / f"a-{other.digest[:24]}-{BUILD}.npz").replace(path)
    else:
        if wrong == "no label":
            del arrays["label"]
        elif wrong == "version":
            text = bytes(arrays["label"]).replace(b'"torch": "', b'"torch": "0')
            arrays["label"] = np.frombuffer(text, np.uint8)
        else:
            arrays["a"] = arrays["a"] * 2 if wrong == "values" else arrays["a"][:1]
        np.savez(path, **arrays)  # type: ignore[arg-type]
    assert equal(cached("a", GEOMETRY, small, tmp_path), small())
    assert equal(cached("a", GEOMETRY, never, tmp_path), small())


@pytest.mark.process
def test_a_builder_that_dies_holds_no_lock(tmp_path: Path) -> None:
    if (child := os.fork()) == 0:
        cached("a", GEOMETRY, lambda: os._exit(1), tmp_path)
    os.waitpid(child, 0)
    assert equal(cached("a", GEOMETRY, small, tmp_path), small())


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDGM_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("DDGM_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "ddgm"
