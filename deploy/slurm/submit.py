"""Submits a run's jobs to SLURM, and cancels them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ddgm.core.errors import DdgmError
from ddgm.deploy.slurm import client
from ddgm.deploy.slurm.folder import SlurmFolder, SlurmJob, SubmissionError, slurm_folder
from ddgm.deploy.slurm.scripts import Scripts
from ddgm.pipeline.run.preflight import check, create
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store.lock import run_lock
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.terminal import plural
from ddgm.workers.settings import settings
from ddgm.workers.slurm_spec import Slurm
from ddgm.workers.specs import SchedulerFile

GONE = 60.0  # seconds that cancelled jobs may take to leave the queue


def scripts_of(spec: Spec) -> Scripts:
    """The scripts that `submit` would send; writes nothing.

    Raises:
        DdgmError: the spec is not one for SLURM, or does not fit its volume.
    """
    if not isinstance(spec.cluster, Slurm):
        raise SubmissionError(
            f"cluster.kind: {spec.cluster.kind} has no batch jobs; choose slurm, or `ddgm run`"
        )
    plan = make_plan(spec)
    return Scripts(spec.cluster, slurm_folder(spec.output.path), plan.block_count)


def submit(spec: Spec, overwrite: bool = False, other_versions: bool = False) -> list[SlurmJob]:
    """Prepare a run and send its jobs; all of them or none.

    Workers start after the driver, which starts once SLURM has taken them all.

    Raises:
        DdgmError: what is wrong with the spec, or with what is there already.
        SlurmError: what SLURM objects to.
    """
    scripts = scripts_of(spec)
    folder = scripts.folder
    if there := client.queue(folder.job_names() or scripts.names()):
        raise SubmissionError(
            f"output.path: {folder.run} has {plural(len(there), 'job')} in the queue already, "
            f"{there[0].id} among them; wait for them, or end them with `ddgm cancel`"
        )
    checked = check(spec, overwrite, other_versions)
    with run_lock(RunStore(checked.context.root).folder):  # no job is sent yet
        create(checked, overwrite)
        _write(scripts, spec)
    try:
        driver = _send(folder, "driver", "--hold")
        sent = [driver]
        for name, group in scripts.slurm.groups.items() if not scripts.slurm.single_job else ():
            array = f"--array=0-{scripts.jobs(group) - 1}"
            sent.append(_send(folder, name, array, f"--dependency=after:{driver.id}"))
        client.release(driver.id)
    except BaseException as error:
        folder.end("SLURM did not take all of its jobs")
        for name in scripts.names():
            client.cancel(name)
        raise error
    return sent


def cancel(run: str) -> int:
    """Cancel a run's jobs and wait until they are gone; returns how many there were.

    Raises:
        DdgmError: the run was not submitted, or jobs do not go.
    """
    folder = slurm_folder(run)
    names = folder.job_names()
    if not names:
        raise SubmissionError(f"{run}: nothing was submitted; give the folder of a submitted run")
    there = len(client.queue(names))
    if not folder.ended:
        folder.end("it was cancelled")  # first: a job that starts now ends by itself
    deadline = time.monotonic() + GONE
    for name in names:
        client.cancel(name)
    while left := client.queue(names):
        if time.monotonic() > deadline:
            raise SubmissionError(
                f"{run}: job {left[0].id} is still {left[0].state} after {GONE:g} s; look at it "
                f"with `scontrol show job {left[0].id}`"
            )
        time.sleep(0.5)
    return there


def _send(folder: SlurmFolder, role: str, *options: str) -> SlurmJob:
    try:
        job = SlurmJob(client.send(folder.path / f"{role}.sh", *options), role)
    except DdgmError as error:
        raise client.SlurmError(
            f"cluster.{role}: {error}; the job is {folder.path / role}.sh"
        ) from error
    folder.record(job)
    return job


def _write(scripts: Scripts, spec: Spec) -> None:
    """Write all that the jobs read, replacing an earlier submission's files but its logs."""
    folder = scripts.folder
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.path.chmod(0o700)  # scripts and the key are nobody else's
    for path in folder.path.iterdir():
        if path.is_file():
            path.unlink()
    for role, text in scripts.all().items():
        path = folder.path / f"{role}.sh"
        path.write_text(text, "utf-8")
        path.chmod(0o700)
    there = SchedulerFile(
        kind="scheduler_file", path=folder.path / "scheduler.json", threads=spec.cluster.threads
    )
    text = dump_spec(spec.model_copy(update={"cluster": there}))
    (folder.path / "spec.yaml").write_text(text, "utf-8")
    key = folder.path / "tls.pem"
    key.touch(mode=0o600)
    key.write_text(_key())
    (folder.path / "dask.yaml").write_text(json.dumps(dask_settings(str(key)), indent=2) + "\n")
    names = json.dumps({"names": scripts.names()}) + "\n"
    (folder.path / "submission.json").write_text(names)


def dask_settings(key: str) -> dict[str, Any]:
    """Dask's settings in every job: ddgm's own, and TLS with the submission's key."""
    from dask import config

    role = {"key": key, "cert": key}
    flat: Mapping[str, Any] = {
        **settings(),
        "distributed.comm.default-scheme": "tls",
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": key,
        "distributed.comm.tls.scheduler": role,
        "distributed.comm.tls.worker": role,
        "distributed.comm.tls.client": role,
    }
    nested: dict[str, Any] = {}
    config.set(flat, config=nested)  # from now on: the context would take it back
    return nested


def _key() -> str:
    """A new private key and its certificate, in PEM."""
    from distributed import Security

    made: Any = Security.temporary()
    return made.tls_client_key + made.tls_client_cert
