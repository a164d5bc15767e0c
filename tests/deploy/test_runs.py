"""Whole runs on real SLURM daemons: from `ddgm submit` to a verified output, whatever happens."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from distributed import Client, Security

from ddgm.deploy.slurm.folder import SlurmFolder
from ddgm.deploy.slurm.submit import cancel as end
from ddgm.deploy.slurm.submit import submit
from ddgm.pipeline.run.runner import run as run_here
from ddgm.pipeline.spec.model import BlockSpec, Spec
from ddgm.pipeline.spec.yaml_file import dump_spec
from tests.deploy.jobs import (
    ask,
    cluster,
    done,
    logs,
    processes,
    queued,
    running,
    slurm_spec,
    wait_for,
    wait_for_end,
)
from tests.pipeline.runs import layers, phantom_volume, run_ddgm, small_spec
from tests.pipeline.sample_volumes import serve

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, volume: str, tiny_prior: Path
) -> dict[str, bytes]:
    """What a slow run writes, made without SLURM."""
    spec = small_spec(
        volume,
        tmp_path_factory.mktemp("expected") / "run",
        tiny_prior,
        method={"steps": 40},
        cluster={"workers": 2},
    )
    run_here(spec, lambda event: None)
    return layers(Path(spec.output.path))


@pytest.fixture(scope="module")
def brief(
    slurm: None, tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path
) -> Iterator[Path]:
    """A run that no walltime of its jobs is long enough for; it goes on beside the other tests.

    After its first block it is slow without working, until the driver is back in the queue.
    """
    folder = tmp_path_factory.mktemp("brief")
    run = folder / "run"
    phantom_volume(folder / "em", chunk=(32, 32, 2))  # of its own for every block
    walltimes: Any = {"driver": {"walltime": "00:02:30"}, "cpu": {"walltime": "00:01:30"}}

    def stall() -> None:
        wait_for(run, "a block", lambda: done(run))
        server.faults["_20-52_"] = "hang"  # 20 seconds for one chunk of every block
        wait_for(run, "its walltime", lambda: "back into the queue" in logs(run, "driver"))
        server.faults.clear()

    with serve(folder / "em") as server:
        spec = slurm_spec(server.url, run, tiny_prior, **walltimes)
        submit(spec.model_copy(update={"block": BlockSpec(slices=2, batch=2)}))
        thread = Thread(target=stall)
        thread.start()
        yield run
        thread.join()


@pytest.fixture(scope="module")
def hopeless(
    slurm: None, tmp_path_factory: pytest.TempPathFactory, volume: str, tiny_prior: Path
) -> Path:
    """A run whose workers die before they have begun; it goes on beside the other tests."""
    run = tmp_path_factory.mktemp("hopeless") / "run"
    setup = {"setup": ["echo 'module: cuda/99 is not here'; exit 7"]}
    submit(slurm_spec(volume, run, tiny_prior, cpu=setup))
    return run


def test_a_spec_becomes_a_verified_output_with_both_groups(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    expected: dict[str, bytes],
    brief: Path,
    hopeless: Path,
) -> None:
    run = tmp_path / "run"
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(slurm_spec(volume, run, tiny_prior, slow=True, gpu=True)))
    status, out, err = run_ddgm(capsys, "submit", path)
    assert status == 0, err
    assert [line.split(":")[0] for line in out.splitlines() if ": job " in line] == [
        "driver",
        "cpu",
        "gpu",
    ]
    wait_for(run, "a worker on each node", lambda: running(run, "cpu") and running(run, "gpu"))
    _, out, _ = run_ddgm(capsys, "status", run)
    assert "SLURM cpu: 1 running on cpu1" in out
    assert "SLURM gpu: 1 running on gpu1" in out
    status, _, err = run_ddgm(capsys, "submit", path)
    assert status == 1
    assert "in the queue already" in err
    wait_for_end(run)
    assert SlurmFolder(run).ended == "every block is done"
    assert layers(run) == expected
    assert run_ddgm(capsys, "verify", run)[0] == 0
    assert "name: cpu-" in logs(run, "driver")
    assert "name: gpu-" in logs(run, "driver")
    assert processes(run) == []
    assert "ended: every block is done" in run_ddgm(capsys, "status", run)[1]


def test_cpu_work_goes_on_while_the_gpus_are_taken_and_their_node_is_drained(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    expected: dict[str, bytes],
) -> None:
    run = tmp_path / "run"
    other = ask(
        "sbatch", "--parsable", "--partition=gpu", "--gres=gpu:1", "--mem=100M",
        "--output=/dev/null", "--wrap=sleep 600",
    ).strip()  # fmt: skip
    try:
        wait_for(run, "the other's job", lambda: ask("squeue", "-h", "-t", "R", "-j", other))
        submit(slurm_spec(volume, run, tiny_prior, slow=True, gpu=True))
        wait_for(run, "a block", lambda: done(run))
        assert "SLURM gpu: 1 pending (Resources)" in run_ddgm(capsys, "status", run)[1]
        ask("scontrol", "update", "nodename=gpu1", "state=drain", "reason=test")
        ask("scancel", other)
        wait_for_end(run)
    finally:
        ask("scontrol", "update", "nodename=gpu1", "state=resume")
        ask("scancel", other)
    assert SlurmFolder(run).ended == "every block is done"
    assert layers(run) == expected
    assert "name: gpu-" not in logs(run, "driver")
    assert logs(run, "gpu") == ""


def test_what_slurm_refuses_is_said_in_its_words_and_nothing_stays(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    path = tmp_path / "spec.yaml"
    spec = slurm_spec(volume, tmp_path / "run", tiny_prior, gpu=True, cpu={"partition": "nonesuch"})
    path.write_text(dump_spec(spec))
    status, _, err = run_ddgm(capsys, "submit", path)
    assert status == 1
    assert "invalid partition specified: nonesuch" in err
    assert err.startswith("error: cluster.cpu: ")
    assert err.count("\n") == 1
    assert queued(tmp_path / "run") == []
    assert (tmp_path / "run/slurm/jobs").read_text().endswith(" driver\n")  # sent, and taken back


def test_cancel_ends_every_job_and_a_run_sent_again_replaces_a_worker_that_is_lost(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    expected: dict[str, bytes],
) -> None:
    run = tmp_path / "run"
    spec = slurm_spec(volume, run, tiny_prior, slow=True)
    submit(spec)
    wait_for(run, "a block", lambda: done(run))
    assert processes(run)
    status, out, _ = run_ddgm(capsys, "cancel", run)
    assert status == 0
    assert "2 jobs taken out of the queue" in out
    assert queued(run) == []
    wait_for(run, "the end of its processes", lambda: not processes(run))
    assert "ended: it was cancelled" in run_ddgm(capsys, "status", run)[1]
    before = {record.block: record.finished for record in done(run)}
    assert 1 <= len(before) < 8
    submit(spec)
    wait_for(run, "another block", lambda: len(done(run)) > len(before))
    (worker,) = running(run, "cpu")
    ask("scancel", worker.id)  # in the middle of the next one
    wait_for_end(run)
    assert SlurmFolder(run).ended == "every block is done"
    assert layers(run) == expected
    assert before.items() <= {record.block: record.finished for record in done(run)}.items()
    assert f"cpu job {worker.id} was ended at its work" in run_ddgm(capsys, "status", run)[1]


def test_a_preempted_driver_leaves_no_worker_and_resumes(
    tmp_path: Path, tiny_prior: Path, volume: str, expected: dict[str, bytes]
) -> None:
    run = tmp_path / "run"
    submit(slurm_spec(volume, run, tiny_prior, slow=True))
    wait_for(run, "a block", lambda: done(run))
    (driver,) = running(run, "driver")
    ask("scontrol", "requeue", driver.id)  # SIGTERM to all of it, as preemption sends
    wait_for(run, "the end of its worker", lambda: not queued(run, "cpu"))
    assert not SlurmFolder(run).ended
    wait_for_end(run)
    assert SlurmFolder(run).ended == "every block is done"
    assert "SLURM ends this job" in logs(run, "driver")
    assert layers(run) == expected


def test_one_job_with_all_the_roles_is_enough(
    tmp_path: Path, tiny_prior: Path, volume: str, expected: dict[str, bytes]
) -> None:
    run = tmp_path / "run"
    data = slurm_spec(volume, run, tiny_prior, slow=True).model_dump(mode="json")
    data["cluster"] = cluster(single_job=True, cpu={"count": 2})
    del data["cluster"]["driver"]  # the words before ddgm's own stand for a container's
    data["cluster"]["container"] = f"env PATH={Path(sys.executable).parent}:{os.environ['PATH']}"
    (job,) = submit(Spec.model_validate(data))
    wait_for_end(run)
    assert SlurmFolder(run).ended == "every block is done"
    assert layers(run) == expected
    assert {record.worker for record in done(run)} == {f"cpu-{job.id}-{n}-0" for n in range(2)}
    assert processes(run) == []


def test_workers_that_die_at_start_are_sent_three_times_and_then_the_run_ends(
    capsys: pytest.CaptureFixture[str], hopeless: Path
) -> None:
    wait_for_end(hopeless)
    assert "no worker could start" in SlurmFolder(hopeless).ended
    jobs = [job for job in SlurmFolder(hopeless).jobs() if job.role == "cpu"]
    assert len(jobs) == 3
    assert "module: cuda/99 is not here" in logs(hopeless, "driver")
    status, out, _ = run_ddgm(capsys, "status", hopeless)
    assert status == 0
    for job in jobs:
        log = SlurmFolder(hopeless).logs / f"cpu-{job.id}_0.log"
        line = f"cpu job {job.id}_0 never joined the run; {log} ends: module: cuda/99 is not here"
        assert line in out
    assert processes(hopeless) == []


def test_walltimes_of_workers_and_of_the_driver_end_nothing(
    capsys: pytest.CaptureFixture[str], brief: Path
) -> None:
    wait_for_end(brief)
    assert SlurmFolder(brief).ended == "every block is done"
    assert "back into the queue" in logs(brief, "driver")
    assert "done before" in logs(brief, "driver")
    assert "worker-lifetime-reached" in logs(brief, "cpu")
    assert len(done(brief)) == 16
    assert run_ddgm(capsys, "verify", brief)[0] == 0
    assert SlurmFolder(brief).lost() == []


def test_a_scheduler_lets_in_only_who_has_the_key_of_its_run(
    tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    run = tmp_path / "run"
    submit(slurm_spec(volume, run, tiny_prior, slow=True))
    try:
        file = SlurmFolder(run).path / "scheduler.json"
        wait_for(run, "a scheduler", lambda: file.exists() and file.stat().st_size)
        address = json.loads(file.read_text())["address"]
        key = str(SlurmFolder(run).path / "tls.pem")
        assert Path(key).stat().st_mode & 0o077 == 0
        ours = Security(
            require_encryption=True, tls_ca_file=key, tls_client_key=key, tls_client_cert=key
        )
        with Client(address, security=ours, timeout="60s") as client:
            assert client.scheduler_info()["address"] == address
        for stranger in (Security.temporary(), Security()):
            with pytest.raises((OSError, TypeError)):
                Client(address, security=stranger, timeout="5s")
            # a client that failed closes itself when it is collected; were that while the next one
            # starts, Dask would wait for a lock that it holds
            gc.collect()
        with pytest.raises(OSError, match=r"(?i)timed out|closed"):
            Client(address.replace("tls:", "tcp:"), timeout="5s")
    finally:
        end(str(run))
