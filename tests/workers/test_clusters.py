"""Clusters: started here, or reached by address or scheduler file, each with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.clusters import Address, ClusterError, Local, SchedulerFile, connect


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")}


def test_a_local_cluster_has_its_workers_on_loopback_and_keeps_memory() -> None:
    with connect(Local(workers=2, memory="1GiB")) as client:
        threads = client.nthreads()
        assert list(threads.values()) == [1, 1]  # type: ignore[union-attr]
        assert all("127.0.0.1" in address for address in threads)  # type: ignore[union-attr]
        assert client.submit(environment).result()["MALLOC_TRIM_THRESHOLD_"] == str(2**32)
        processes = client.run(os.getpid)
    assert os.getpid() not in processes.values()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A scheduler and a worker that somebody else started."""
    folder = tmp_path_factory.mktemp("scheduler")
    path = folder / "scheduler.json"
    base = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    shared = ["--scheduler-file", str(path), "--no-dashboard", "--host", "127.0.0.1"]
    commands = [
        [*dask, "scheduler", *shared, "--port", "0"],
        [*dask, "worker", *shared, "--nthreads", "1", "--no-nanny"],
    ]
    started = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, **base))  # type: ignore[call-overload]
            deadline = time.monotonic() + 60
            while not path.exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield path
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_a_running_scheduler_is_reached_by_its_file_and_by_its_address(scheduler: Path) -> None:
    with connect(SchedulerFile(kind="scheduler_file", path=scheduler)) as client:
        assert client.submit(sum, (1, 2)).result(timeout=60) == 3
        address = str(client.scheduler.address)  # type: ignore[union-attr]
    with connect(Address(kind="address", address=address)) as client:
        assert client.submit(sum, (3, 4)).result(timeout=60) == 7


def test_a_scheduler_that_is_not_there_is_named_in_one_line(tmp_path: Path) -> None:
    missing = SchedulerFile(kind="scheduler_file", path=tmp_path / "none.json")
    with pytest.raises(ClusterError, match="no scheduler file") as error, connect(missing):
        pass
    assert "\n" not in str(error.value)
    silent = Address(kind="address", address="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9") as error, connect(silent):
        pass
    assert "\n" not in str(error.value)
