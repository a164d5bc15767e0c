"""Local clusters that cannot start: a bounded time, and one line that says which worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from distributed import WorkerPlugin

from ddgm.workers import local_cluster
from ddgm.workers.connect import connect
from ddgm.workers.local_cluster import ClusterError, register
from ddgm.workers.settings import settings
from ddgm.workers.specs import Local
from tests.workers.shared import Shared

ONE = Local(workers=1, memory="1GiB")


def as_a_worker_starts(monkeypatch: pytest.MonkeyPatch, signal: str) -> None:
    """Let a signal reach a worker's process before it has joined."""
    text = f"import os, signal; os.kill(os.getpid(), signal.{signal})"
    preloaded = settings() | {"distributed.worker.preload": [text]}
    monkeypatch.setattr(local_cluster, "settings", lambda: preloaded)


@pytest.mark.cluster
def test_a_worker_that_hangs_as_it_starts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    as_a_worker_starts(monkeypatch, "SIGSTOP")
    monkeypatch.setattr(local_cluster, "START_SECONDS", 4.0)
    with (
        pytest.raises(ClusterError, match="worker cpu-0 has not started within 4 s; "),
        connect(ONE),
    ):
        pass


@pytest.mark.cluster
def test_a_worker_that_dies_as_it_starts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    as_a_worker_starts(monkeypatch, "SIGKILL")
    with (
        pytest.raises(ClusterError, match="worker cpu-0 did not start "),
        connect(ONE),
    ):
        pass


@pytest.mark.cluster
def test_a_machine_without_loopback_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_cluster, "LOOPBACK", "192.0.2.1")  # nobody's, by RFC 5737
    with (
        pytest.raises(ClusterError, match="cluster: it could not be started") as error,
        connect(ONE),
    ):
        pass
    assert "\n" not in str(error.value)


def configured() -> dict[str, Any]:
    from dask import config

    found = config.get("distributed")
    return {
        "lifetime": found["worker"]["lifetime"]["duration"],
        "preload": found["worker"]["preload"],
        "profile": found["worker"]["profile"]["interval"],
        "lost": found["deploy"]["lost-worker-timeout"],
    }


@pytest.mark.cluster
def test_a_sites_configuration_of_dask_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers' own processes read it again, as files and environment variables have it."""
    from dask import config

    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION", "1 second")
    theirs = {
        "distributed.worker.lifetime.duration": "1 second",
        "distributed.worker.preload": ["no_such_module"],
        "distributed.comm.require-encryption": True,
        "distributed.comm.default-scheme": "ucx",
        "distributed.comm.tls.ca-file": "/not/there.pem",
    }
    ours = {"lifetime": None, "preload": [], "profile": "100ms", "lost": "180s"}
    with config.set(theirs):
        before = configured()
        with connect(ONE) as client:
            assert configured() == ours
            assert client.submit(configured).result() == ours
            assert config.get("distributed.comm.require-encryption") is None
        assert configured() == before  # that of the cluster which tests share, where there is one


class Deadly(WorkerPlugin):
    """Kills the first worker that is told of it."""

    name = "deadly"

    def __init__(self, told: Path) -> None:
        self.told = told

    def setup(self, worker: Any) -> None:
        try:
            self.told.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_as_it_is_told_of_a_plugin_is_no_loss(
    shared: Shared, tmp_path: Path
) -> None:
    shared.whole()
    register(shared.client, Deadly(tmp_path / "told"))
    assert (tmp_path / "told").exists()
    assert len(shared.pids()) == 3
    shared.client.unregister_worker_plugin("deadly")
