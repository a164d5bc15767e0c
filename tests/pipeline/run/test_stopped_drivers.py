"""Drivers that are killed, or stopped by Ctrl-C once and twice: the next goes on."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from ddgm.pipeline.run.runner import run, run_alone
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.lock import LockError
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.run.disturbed import BLOCKS, METHOD, has_begun, spec_for, withheld
from tests.pipeline.runs import layers, run_ddgm, small_spec
from tests.pipeline.sample_volumes import chunk_file
from tests.processes import PATIENCE, ddgm, wait_for
from tests.workers.shared import Shared

STOPPED = "error: stopped at once; run the same spec again to go on: finished blocks are kept"

pytestmark = pytest.mark.usefixtures("impatient")


def test_one_driver_at_a_time_and_none_is_missed(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A client that lives, is killed, is stopped by Ctrl-C, and one that ends the work.

    Neither of the first two can end it before that: bytes that it needs do not come.
    """
    small: dict[str, dict[str, Any]] = {"block": {"slices": 2, "batch": 2}}  # two to a chunk
    em, blocks = tmp_path / "em", 16
    shutil.copytree(volume, em)
    alone = small_spec(
        f"precomputed://file://{em}", tmp_path / "alone", tiny_prior, method=METHOD, **small
    )
    for block in range(blocks):
        run_alone(alone, block)
    spec = spec_for(shared, tmp_path / "run", tiny_prior, em, **small)
    path, log = tmp_path / "spec.yaml", tmp_path / "log"
    path.write_text(dump_spec(spec))
    store = RunStore(spec.output.path)

    def count() -> int:
        return len(list(store.ledger.records()))

    with withheld(chunk_file(em, (10, 20, 15))):  # of blocks 4 and 5
        client = ddgm(log, "run", path)
        try:
            wait_for(lambda: count() >= 1, client, log)
            with pytest.raises(LockError, match=f"is being written by process {client.pid}"):
                run(spec, lambda event: None)
            out = run_ddgm(capsys, "status", tmp_path / "run")[1]
            assert f"process {client.pid} on" in out
        finally:
            client.kill()
            client.wait()
    first = count()
    assert "none: the run has ended, or was stopped" in run_ddgm(capsys, "status", store.root)[1]
    with withheld(chunk_file(em, (42, 20, 7))):  # of blocks 8 and 9
        client = ddgm(log, "run", path)
        running = f"process {client.pid} on"
        wait_for(lambda: running in run_ddgm(capsys, "status", store.root)[1], client, log)
        begun = count()  # what the first had begun may have come to its end since
        wait_for(lambda: count() > begun, client, log)
        client.send_signal(signal.SIGINT)
        # it ends by itself unless it has begun those two: then they must get their bytes
        wait_for(lambda: client.poll() is not None or "Ctrl-C again" in log.read_text())
    assert client.wait(timeout=PATIENCE) == 130, log.read_text()
    assert "stopped; run the same spec again" in log.read_text()
    kept = {r.block: r.finished for r in store.ledger.records()}
    assert first < len(kept) < blocks, "it stopped in the middle"
    assert {r.state for r in store.ledger.records()} == {"done"}
    result = run(spec, lambda event: None)
    assert (result.resumed, result.done) == (len(kept), blocks - len(kept))
    assert layers(tmp_path / "run") == layers(tmp_path / "alone")


def test_ctrl_c_twice_stops_at_once_and_the_run_can_be_gone_on_with(
    shared: Shared, tmp_path: Path, tiny_prior: Path, volume: Path, reference: dict[str, bytes]
) -> None:
    """While the last block waits for bytes that do not come."""
    shutil.copytree(volume, tmp_path / "em")
    spec = spec_for(shared, tmp_path / "run", tiny_prior, tmp_path / "em")
    path, log = tmp_path / "spec.yaml", tmp_path / "log"
    path.write_text(dump_spec(spec))
    store, last = RunStore(spec.output.path), BLOCKS - 1
    with withheld(chunk_file(tmp_path / "em", (42, 20, 19))):
        client = ddgm(log, "run", path)
        try:
            wait_for(lambda: len(list(store.ledger.records())) == last, client, log)
            wait_for(lambda: has_begun(tmp_path / "run", last), client, log)
            client.send_signal(signal.SIGINT)
            wait_for(lambda: "Ctrl-C again stops at once" in log.read_text(), client, log)
            client.send_signal(signal.SIGINT)
            assert client.wait(timeout=60) == 130, log.read_text()
        finally:
            client.kill()
            client.wait()
    said = log.read_text()
    assert said.endswith(f"{STOPPED}\n")
    assert said.count("error") == 1
    assert "Traceback" not in said
    result = run(spec, lambda event: None)
    assert (result.resumed, result.done) == (last, 1)
    assert layers(tmp_path / "run") == reference


def test_sigterm_ends_a_driver_as_a_second_ctrl_c_does(
    shared: Shared, tmp_path: Path, tiny_prior: Path, volume: Path
) -> None:
    """A batch system sends it; the lock is left at once, and nothing is leaked."""
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume)
    path, log = tmp_path / "spec.yaml", tmp_path / "log"
    path.write_text(dump_spec(spec))
    client = ddgm(log, "run", path)
    wait_for(lambda: list(RunStore(spec.output.path).ledger.records()), client, log)
    client.send_signal(signal.SIGTERM)
    assert client.wait(timeout=60) == 130, log.read_text()
    assert log.read_text().splitlines()[-1] == STOPPED
    assert "Traceback" not in log.read_text()
    assert "leaked" not in log.read_text()
    assert not (tmp_path / "run/driver.json").exists()


@pytest.mark.cluster
def test_ctrl_c_while_a_cluster_starts_is_one_line(
    tmp_path: Path, tiny_prior: Path, volume: Path
) -> None:
    """A terminal sends it to the workers, too, which are still importing."""
    path, log = tmp_path / "spec.yaml", tmp_path / "log"
    url = f"precomputed://file://{volume}"
    path.write_text(dump_spec(small_spec(url, tmp_path / "run", tiny_prior)))
    client = ddgm(log, "run", path, start_new_session=True)
    process = psutil.Process(client.pid)
    wait_for(lambda: any("forkserver" in " ".join(words(p)) for p in process.children()), client)
    os.killpg(client.pid, signal.SIGINT)
    assert client.wait(timeout=60) == 130, log.read_text()
    *before, last = log.read_text().splitlines()
    assert last == STOPPED
    assert all(line.startswith(("preparing:", "building the eigenbasis")) for line in before)


def words(process: psutil.Process) -> list[str]:
    """The command line of a process, if it is still there."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []
