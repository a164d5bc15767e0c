"""Clusters: started here, or reached by address or scheduler file, each with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Security

from workers import clusters
from workers.clusters import Address, ClusterError, Local, SchedulerFile, connect
from workers.security import SecurityError, Tls, security_of

ROOT = Path(__file__).parents[2]
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_ARENA_MAX": "1",
}


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k in MALLOC}


def profiled_every() -> str:
    from dask import config

    return config.get("distributed.worker.profile.interval")


def test_a_local_cluster_has_its_workers_on_loopback_and_keeps_memory() -> None:
    with connect(Local(workers=2, memory="1GiB")) as client:
        threads = client.nthreads()
        assert list(threads.values()) == [1, 1]  # type: ignore[union-attr]
        assert all("127.0.0.1" in address for address in threads)  # type: ignore[union-attr]
        assert client.submit(environment).result() == MALLOC
        assert client.submit(profiled_every).result() == "100ms"
        processes = client.run(os.getpid)
    assert os.getpid() not in processes.values()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A scheduler and a worker that somebody else started, as the README says."""
    folder = tmp_path_factory.mktemp("scheduler")
    path = folder / "scheduler.json"
    ask = [sys.executable, "-m", "workers.settings"]
    settings = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    base: dict[str, Any] = {
        "cwd": folder,
        "env": {**os.environ, "DASK_CONFIG": settings, "PYTHONPATH": str(ROOT)},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "start_new_session": True,
    }
    dask = [sys.executable, "-m", "dask"]
    shared = ["--scheduler-file", str(path), "--no-dashboard", "--host", "127.0.0.1"]
    commands = [
        [*dask, "scheduler", *shared, "--port", "0"],
        [*dask, "worker", *shared, "--nthreads", "1"],
    ]
    started = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, **base))
            deadline = time.monotonic() + 60
            while not path.exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield path
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGKILL)  # a worker's nanny and the worker
            process.wait()


def test_a_running_scheduler_is_reached_by_its_file_and_by_its_address(scheduler: Path) -> None:
    with connect(SchedulerFile(kind="scheduler_file", path=scheduler)) as client:
        assert client.submit(environment).result(timeout=60) == MALLOC
        assert client.submit(profiled_every).result() == "100ms"
        address = str(client.scheduler.address)  # type: ignore[union-attr]
    with connect(Address(kind="address", address=address)) as client:
        assert client.submit(sum, (3, 4)).result(timeout=60) == 7


def test_a_scheduler_that_is_not_there_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "ANSWER", "1s")
    missing = SchedulerFile(kind="scheduler_file", path=tmp_path / "none.json")
    with pytest.raises(ClusterError, match="no scheduler file") as error, connect(missing):
        pass
    assert "\n" not in str(error.value)
    silent = Address(kind="address", address="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9") as error, connect(silent):
        pass
    assert "\n" not in str(error.value)


def certificate(folder: Path) -> dict[str, Path]:
    """A self-signed certificate and its key, as Dask makes them for one run."""
    security = Security.temporary()
    parts = {"ca": "tls_ca_file", "cert": "tls_client_cert", "key": "tls_client_key"}
    for name, field in parts.items():
        (folder / f"{name}.pem").write_text(getattr(security, field))
    return {name: folder / f"{name}.pem" for name in parts}


def test_with_tls_only_those_with_the_files_get_in(tmp_path: Path) -> None:
    tls = Tls(**certificate(tmp_path))
    with connect(Local(workers=1, memory="1GiB", security=tls)) as client:
        address = str(client.scheduler.address)  # type: ignore[union-attr]
        assert address.startswith("tls://127.0.0.1")
        with connect(Address(kind="address", address=address, security=tls)) as other:
            assert other.submit(sum, (1, 2)).result(timeout=60) == 3
        (tmp_path / "other").mkdir()
        stranger = Tls(**certificate(tmp_path / "other"))
        for wrong in (None, stranger):
            there = Address(kind="address", address=address, security=wrong)
            with pytest.raises(ClusterError) as error, connect(there):
                pass
            assert "\n" not in str(error.value)


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    for name in ("cert", "key"):
        missing = Tls(**{**files, name: tmp_path / "none.pem"})
        with pytest.raises(SecurityError, match=rf"cluster\.security\.{name}: there is no file"):
            security_of(missing)
    files["key"].write_text("not a key")
    with pytest.raises(SecurityError, match=r"cluster\.security: .* cannot be used"):
        security_of(Tls(**files))
