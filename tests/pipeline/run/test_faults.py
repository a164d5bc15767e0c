"""Processes that die and hang, sources that fail: the same bytes as from an undisturbed run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ddgm.core.networks.prior import load_prior, save_prior
from ddgm.pipeline.block.context import at_work
from ddgm.pipeline.block.stages import StageOutput, fetch_stage
from ddgm.pipeline.block.task import Job, Trial
from ddgm.pipeline.run import scheduler as window_module
from ddgm.pipeline.run.events import Beat, BlockDone, BlockFailed, BlockRetried, Event
from ddgm.pipeline.run.placement import Placement, submit
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.run.runner import RunError, Summary, run, run_alone
from ddgm.pipeline.run.scheduler import Window
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store import lock as lock_module
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.lock import LockError
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.volume import Cutout
from tests.pipeline.runs import layers, phantom_volume, run_ddgm, small_spec
from tests.pipeline.sample_volumes import Server, chunk_file, serve
from tests.workers.shared import Shared

if TYPE_CHECKING:
    from distributed import Client, Future

METHOD = {"steps": 12}  # half a second a block: time enough to be killed in
BLOCKS = 8


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume") / "em"
    phantom_volume(folder, chunk=(32, 140, 4))  # a chunk to a block
    return folder


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, volume: Path, tiny_prior: Path
) -> dict[str, bytes]:
    """What one process makes of it, without any cluster."""
    root = tmp_path_factory.mktemp("reference") / "run"
    spec = small_spec(f"precomputed://file://{volume}", root, tiny_prior, method=METHOD)
    for block in range(BLOCKS):
        run_alone(spec, block)
    return layers(root)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "TICK", 0.2)
    monkeypatch.setattr(window_module, "BACK_OFF", 0.1)


def spec_for(
    shared: Shared, root: Path, prior: Path, url: Path | str, **parts: dict[str, Any]
) -> Spec:
    """On the shared cluster; no part of another kind of cluster is left in it."""
    url = f"precomputed://file://{url}" if isinstance(url, Path) else url
    spec = small_spec(url, root, prior, method=METHOD, **parts)
    data = spec.model_dump() | {"cluster": shared.part}
    return Spec.model_validate(data)


class Events(list[Event]):
    """Keeps all events, and does something at the first that a condition holds for."""

    def __init__(self, condition: Callable[[Event], bool], action: Callable[[], object]) -> None:
        self.condition, self.action, self.acted = condition, action, False

    def __call__(self, event: Event) -> None:
        self.append(event)
        if not self.acted and self.condition(event):
            self.acted = True
            self.action()


def at_stage(stage: str, worker: str = "") -> Callable[[Event], bool]:
    """Whether an event tells that a worker is at a stage."""
    return lambda event: (
        isinstance(event, Beat)
        and any(r.stage == stage and worker in r.worker for r in event.running)
    )


@pytest.mark.parametrize("placement", ["whole", "calls"])
def test_workers_that_are_killed_at_work_change_no_byte(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    placement: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of the pool and one that holds blocks, in the middle of a block."""
    monkeypatch.setattr(window_module, "DEATHS", 3)  # both may have been at the same block
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume, pool={"placement": placement})
    pids = shared.pids()
    pool = Events(at_stage("reconstruct"), lambda: os.kill(pids["pool-0"], signal.SIGKILL))
    home = Events(
        lambda e: isinstance(e, BlockDone), lambda: os.kill(pids["cpu-0"], signal.SIGKILL)
    )

    def emit(event: Event) -> None:
        pool(event)
        home(event)

    summary = run(spec, emit)
    assert pool.acted
    assert home.acted
    assert (summary.done, summary.failed) == (BLOCKS, [])
    assert layers(tmp_path / "run") == reference
    beats = [e for e in pool if isinstance(e, Beat)]
    assert {b.placement for b in beats} == {placement}
    if placement == "calls":
        assert max(b.pool_seconds for b in beats) > 0


def test_a_worker_that_hangs_is_restarted_and_its_block_tried_again(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume, limits={"block_seconds": 3600})
    pid = shared.pids()["pool-0"]
    address = shared.whole().pool[0].address
    events = Events(at_stage("reconstruct"), lambda: os.kill(pid, signal.SIGSTOP))
    look = Window._end_what_hangs

    def an_hour_later(window: Window) -> None:
        """For the worker that was stopped; all else is as quick as the machine is."""
        for flight in window.flying.values():
            if events.acted and (flight.stage, flight.worker) == ("reconstruct", address):
                flight.since -= 3600
        look(window)

    monkeypatch.setattr(Window, "_end_what_hangs", an_hour_later)
    summary = run(spec, events)
    assert (summary.done, summary.failed) == (BLOCKS, [])
    retried = [e.cause for e in events if isinstance(e, BlockRetried)]
    late = f"limits.block_seconds: {address} was at reconstruct for 3600 s; it was restarted"
    assert retried == [late] * len(retried)
    assert retried
    assert shared.pids()["pool-0"] != pid
    assert layers(tmp_path / "run") == reference


def deadly_stage(job: Job, trial: Trial, cutout: StageOutput[Cutout]) -> Record:
    """What running out of memory looks like from outside."""
    with at_work(job, trial, "reconstruct"):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def submit_deadly(
    client: Client, job: Job, trial: Trial, home: str, placement: Placement
) -> Future:
    """Block 3 kills whoever works at it."""
    if trial.block != 3:
        return submit(client, job, trial, home, placement)
    cutout = client.submit(
        fetch_stage, job, trial, key=f"fetch-{trial.name}", workers=[home], priority=-3
    )
    return client.submit(
        deadly_stage, job, trial, cutout, key=f"solve-{trial.name}", workers=[home], priority=-3
    )


def test_a_block_that_kills_its_worker_twice_is_given_up_and_the_others_are_done(
    shared: Shared, tmp_path: Path, tiny_prior: Path, volume: Path
) -> None:
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume)
    before = set(shared.pids().values())
    summary = run(spec, lambda event: None, submit=submit_deadly)
    assert (summary.done, summary.failures) == (BLOCKS - 1, 1)
    (record,) = summary.failed
    assert record.block == 3
    assert "2 workers died at it, the last at stage reconstruct" in record.cause
    assert record.worker.startswith("cpu-")
    assert len(before - set(shared.pids().values())) in (1, 2)  # the same name may die twice
    assert RunStore(spec.output.path).record(3) == record


def failing(server: Server, fault: int | str) -> None:
    """Block 1's chunk, for the first slab, and block 6's of the second fail."""
    server.faults.update({"11-15_20-160_10-42": fault, "15-19_20-160_42-74": fault})


@pytest.mark.parametrize("fault", [500, "cut"])
def test_a_source_that_fails_is_asked_again_and_a_block_that_never_comes_is_given_up(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    fault: int | str,
) -> None:
    with serve(volume) as server:
        failing(server, fault)
        spec = spec_for(shared, tmp_path / "run", tiny_prior, server.url, limits={"attempts": 2})

        def mend_one() -> None:
            del server.faults["11-15_20-160_10-42"]

        events = Events(lambda e: isinstance(e, BlockRetried) and e.block == 1, mend_one)
        summary = run(spec, events)
        assert [r.block for r in summary.failed] == [6]
        assert summary.failed[0].attempts == 2
        assert {e.block for e in events if isinstance(e, BlockRetried)} == {1, 6}
        server.faults.clear()
        again = run(spec, lambda event: None)
    assert (again.resumed, again.done) == (BLOCKS - 1, 1)
    assert layers(tmp_path / "run") == reference


def started(spec: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        command = [sys.executable, "-m", "ddgm.pipeline.cli", "run", str(spec)]
        return subprocess.Popen(command, stdout=file, stderr=file)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def test_one_driver_at_a_time_and_none_is_missed(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    reference: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A client that lives, is killed, is stopped by Ctrl-C, and one that ends the work."""
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume)
    path, log = tmp_path / "spec.yaml", tmp_path / "log"
    path.write_text(dump_spec(spec))
    store = RunStore(spec.output.path)

    def count() -> int:
        return len(list(store.records()))

    client = started(path, log)
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
    assert first < BLOCKS
    assert "none: the run has ended, or was stopped" in run_ddgm(capsys, "status", store.root)[1]
    client = started(path, log)
    wait_for(
        lambda: f"process {client.pid} on" in run_ddgm(capsys, "status", store.root)[1], client, log
    )
    begun = count()  # what the first had begun may have come to its end since
    wait_for(lambda: count() > begun, client, log)
    client.send_signal(signal.SIGINT)
    assert client.wait(timeout=60) == 130, log.read_text()
    assert "stopped; run the same spec again" in log.read_text()
    kept = {r.block: r.finished for r in store.records()}
    assert first < len(kept) < BLOCKS, "it stopped in the middle"
    assert {r.state for r in store.records()} == {"done"}
    summary = run(spec, lambda event: None)
    assert (summary.resumed, summary.done) == (len(kept), BLOCKS - len(kept))
    assert layers(tmp_path / "run") == reference


@contextmanager
def withheld(chunk: Path) -> Iterator[None]:
    """A file that does not answer: whoever reads it waits until the context ends."""
    data = chunk.read_bytes()
    chunk.unlink()
    os.mkfifo(chunk)
    try:
        yield
    finally:
        with suppress(OSError), open(os.open(chunk, os.O_WRONLY | os.O_NONBLOCK), "wb") as pipe:
            kept = chunk.with_name("kept")
            kept.write_bytes(data)
            kept.replace(chunk)  # before the reader goes on, who may look again
            os.set_blocking(pipe.fileno(), True)
            pipe.write(data)
        if not chunk.is_file():  # nobody reads
            chunk.unlink()
            chunk.write_bytes(data)


def has_begun(root: Path, block: int) -> bool:
    """Whether a worker is at a block, or was, by its log."""
    return any(f'"begun", "block": {block},' in f.read_text() for f in root.glob("logs/*.jsonl"))


def test_a_reconstruction_that_is_not_finite_is_a_failed_block_and_nothing_is_written(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By weights that a training which diverged has left."""
    prior, broken = load_prior(str(tiny_prior)), tmp_path / "broken.safetensors"
    with torch.no_grad():
        for p in prior.network.parameters():
            p.fill_(torch.nan)
    save_prior(broken, prior.network, prior.card)
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(spec_for(shared, tmp_path / "run", broken, volume)))
    status, out, err = run_ddgm(capsys, "run", path)
    assert (status, err.count("\n")) == (1, 1)
    assert f"{BLOCKS} of {BLOCKS} blocks failed" in err
    assert "block 0: the reconstruction is not finite; check method.step" in " ".join(out.split())
    records = list(RunStore(str(tmp_path / "run")).records())
    assert [(r.state, r.attempts) for r in records] == [("failed", 1)] * BLOCKS
    assert all("the reconstruction is not finite" in r.cause for r in records)
    assert not list((tmp_path / "run/volume.zarr").rglob("c/*"))


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
        client = started(path, log)
        try:
            wait_for(lambda: len(list(store.records())) == last, client, log)
            wait_for(lambda: has_begun(tmp_path / "run", last), client, log)
            client.send_signal(signal.SIGINT)
            wait_for(lambda: "Ctrl-C again stops at once" in log.read_text(), client, log)
            client.send_signal(signal.SIGINT)
            assert client.wait(timeout=60) == 130, log.read_text()
        finally:
            client.kill()
            client.wait()
    said = log.read_text()
    assert said.endswith(
        "error: stopped at once; run the same spec again to go on: finished blocks are kept\n"
    )
    assert said.count("error") == 1
    assert "Traceback" not in said
    summary = run(spec, lambda event: None)
    assert (summary.resumed, summary.done) == (last, 1)
    assert layers(tmp_path / "run") == reference


def held_block(job: Job, trial: Trial) -> int:
    """What a worker computes meanwhile."""
    with at_work(job, trial, "reconstruct"):
        return trial.block


def test_a_worker_computes_while_it_fetches(
    shared: Shared, tmp_path: Path, tiny_prior: Path, volume: Path
) -> None:
    """A worker of one thread: the fetching has left its slot."""
    shutil.copytree(volume, tmp_path / "em")
    job = prepare(spec_for(shared, tmp_path / "run", tiny_prior, tmp_path / "em"))
    member, last = shared.whole().homes[0], BLOCKS - 1
    assert member.threads == 1
    here: dict[str, Any] = {"workers": [member.address], "pure": False}
    with withheld(chunk_file(tmp_path / "em", (42, 20, 19))):
        fetching = shared.client.submit(fetch_stage, job, Trial(last), **here)
        deadline = time.monotonic() + 60
        while not has_begun(tmp_path / "run", last):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert shared.client.submit(held_block, job, Trial(0), **here).result(timeout=60) == 0
        assert not fetching.done()
    assert fetching.result(timeout=60).data.missing_voxels == 0


def test_a_driver_on_another_machine_is_known_to_live_by_its_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddgm.pipeline.store.files import Folder

    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 4.0)
    folder = Folder(str(tmp_path / "run"))
    with lock_module.run_lock(folder):
        monkeypatch.setattr(lock_module.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(LockError, match="wait for it, stop it"), lock_module.run_lock(folder):
            pass
        monkeypatch.undo()
    dead = b'{"token": "a", "host": "elsewhere", "pid": 1, "started": 0, "beats": 7}'
    folder.write("driver.json", dead)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 1.5)
    with lock_module.run_lock(folder) as lock:
        lock.check()
        assert folder.read("driver.json") != dead
    assert folder.read("driver.json") is None


def test_a_driver_that_was_taken_for_dead_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddgm.pipeline.store.files import Folder

    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    folder = Folder(str(tmp_path))
    theirs = b'{"token": "b", "host": "elsewhere", "pid": 1, "started": 0, "beats": 0}'
    with lock_module.run_lock(folder) as lock:
        folder.write("driver.json", theirs)

        def drive() -> None:
            for _ in range(6000):  # a minute
                lock.check()
                time.sleep(0.01)

        with pytest.raises(LockError, match="taken this run over"):
            drive()
    assert folder.read("driver.json") == theirs


def test_events_tell_of_every_block_once(
    shared: Shared, tmp_path: Path, tiny_prior: Path, volume: Path
) -> None:
    """The summary is made of them."""
    spec = spec_for(shared, tmp_path / "run", tiny_prior, volume, block={"slices": 16})
    events: list[Event] = []
    summary = run(spec, events.append)
    assert summary == Summary(2, done=2, seconds=summary.seconds)
    assert sorted(e.record.block for e in events if isinstance(e, BlockDone)) == [0, 1]
    assert not [e for e in events if isinstance(e, BlockFailed)]
    with pytest.raises(RunError, match="there is no block 2"):
        run_alone(spec, 2)
