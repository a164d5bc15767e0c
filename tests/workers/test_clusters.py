"""Clusters: started here, or reached by address or scheduler file, each with real processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import pytest
from distributed import Client, Security

from ddgm.workers import connect as clusters
from ddgm.workers.connect import ClusterError, connect
from ddgm.workers.members import current_workers
from ddgm.workers.security import SecurityError, Tls, security_of
from ddgm.workers.specs import Address, Local, SchedulerFile
from tests.processes import wait_for
from tests.workers.shared import Shared

pytestmark = pytest.mark.cluster

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
    ask = [sys.executable, "-m", "ddgm.workers.settings"]
    settings = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    base: dict[str, Any] = {
        "cwd": folder,
        # Dask's scheduler unpickles a task's function too, so it must find this module
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
            wait_for(path.exists, started[-1])
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
        for wrong, message in ((None, "name its files in"), (stranger, "no scheduler answers")):
            there = Address(kind="address", address=address, security=wrong)
            with pytest.raises(ClusterError, match=message) as error, connect(there):
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


# What another user of the machine can do: speak to each port, see and change the scratch folder
STRANGER = """
import asyncio, json, os, sys
from distributed import Security
from distributed.core import rpc

ports, scratch = json.loads(sys.argv[1]), sys.argv[2]
theirs = {"connection_args": Security.temporary().get_connection_args("client")}
other = os.geteuid() == 0
if other:  # once all is imported, which they may not read
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

async def ask(address, **security):
    async with rpc(address, timeout=2, **security) as them:
        return await asyncio.wait_for(them.identity(), 2)

got_in = []
for port in ports:
    for address, security in ((f"tcp://127.0.0.1:{port}", {}), (f"tls://127.0.0.1:{port}", theirs)):
        try:
            asyncio.run(ask(address, **security))
            got_in.append(address)
        except Exception:  # refused, in any words
            pass
for attempt in (lambda: os.listdir(scratch), lambda: os.rename(scratch, scratch + "x"),
                lambda: os.mkdir(scratch + "/cloudfiles")):
    try:
        if other:
            attempt()
            got_in.append(scratch)
    except PermissionError:
        pass
print(json.dumps(got_in))
"""


def listening() -> list[int]:
    """Ports of this process and its children."""
    import psutil

    me = psutil.Process()
    found = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections("tcp")]
    return sorted({c.laddr.port for c in found if c.status == psutil.CONN_LISTEN})


@pytest.fixture
def everybodys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, like /tmp, where somebody has made Dask's folder first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o1777)
        taken = folder / "dask-scratch-space"
        taken.mkdir()
        taken.chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield folder


def test_nobody_without_the_key_of_a_run_gets_in(everybodys: Path) -> None:
    """Nor does another user of the machine, where we may become one."""
    before = set(listening())
    with connect(Local(workers=1, memory="1GiB")) as client:
        ports = [port for port in listening() if port not in before]
        assert len(ports) >= 3  # scheduler, nanny, worker
        assert str(client.scheduler.address).startswith("tls://")  # type: ignore[union-attr]
        (scratch,) = everybodys.glob("ddgm-*")
        assert scratch.stat().st_mode & 0o077 == 0
        places = [*client.run(scratch_of).values(), *client.run(scratch_of, nanny=True).values()]  # type: ignore[union-attr]
        places.append(client.run_on_scheduler(scratch_of))  # type: ignore[arg-type]
        assert all(place.startswith(f"{scratch}/") for place in places)
        assert list((everybodys / "dask-scratch-space").iterdir()) == []
        command = [sys.executable, "-c", STRANGER, json.dumps(ports), str(scratch)]
        found = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert json.loads(found.stdout or "null") == [], found.stderr
        for port in ports:
            assert pages(port) == 0
    assert list(everybodys.glob("ddgm-*")) == []


def scratch_of(dask_worker: Any = None, dask_scheduler: Any = None) -> str:
    return str((dask_worker or dask_scheduler).local_directory)


def pages(port: int) -> int:
    """How many of the pages that Dask has by default are given to who asks without a key."""
    given = 0
    for path in ("status", "info/main/workers.html"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=1):
                given += 1
        except (OSError, http.client.HTTPException):
            continue
    return given


def test_the_workers_are_all_there_however_often_dasks_client_looks_by_itself(
    shared: Shared,
) -> None:
    """It looks for the cluster's totals every two seconds, and names no workers then."""
    address = shared.part["address"]
    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}):
        client = Client(address, set_as_default=False)
    with client:
        for _ in range(300):
            assert len(current_workers(client).running) == 3
