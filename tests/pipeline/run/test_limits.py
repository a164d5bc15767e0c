"""Memory that runs out, and an output that may not be written: what is finished is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from ddgm.pipeline.block.context import running_stage
from ddgm.pipeline.block.stages import StageOutput, fetch_stage
from ddgm.pipeline.block.task import BlockTask, RunContext
from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run import runner
from ddgm.pipeline.run import scheduler as scheduler_module
from ddgm.pipeline.run.dask_cluster import DaskCluster
from ddgm.pipeline.run.placement import Placement, submit_stages
from ddgm.pipeline.run.verify import verify_run
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.volume import Cutout
from tests.pipeline.runs import layers, phantom_volume, run_ddgm, small_spec, spec_data
from tests.workers.shared import Shared

if TYPE_CHECKING:
    from distributed import Client, Future

METHOD = {"steps": 6}  # a third of a second a block: time enough for something to happen
BLOCKS = 8
HUNGRY = 3  # the block that wants more memory than there is


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, volume: str, tiny_prior: Path
) -> tuple[Path, dict[str, bytes]]:
    """An undisturbed run."""
    root = tmp_path_factory.mktemp("reference") / "run"
    for block in range(BLOCKS):
        runner.run_alone(small_spec(volume, root, tiny_prior, method=METHOD), block)
    return root, layers(root)


def checksums(root: Path) -> dict[int, dict[str, str]]:
    """Of the blocks that are done."""
    records = RunStore(str(root)).ledger.records()
    return {r.block: r.checksums for r in records if r.state == "done"}


def hungry_stage(context: RunContext, task: BlockTask, cutout: StageOutput[Cutout]) -> Record:
    """Takes memory until the worker is ended for it."""
    hoard = []
    with running_stage(context, task, "reconstruct"):
        for _ in range(64):  # 4 GiB, over twice the limit
            hoard.append(np.ones(2**26, np.uint8))
            time.sleep(0.02)
    raise AssertionError("nobody looked at the memory")


def submit_hungry(
    client: Client, context: RunContext, task: BlockTask, pinned_worker: str, placement: Placement
) -> Future:
    """As ever, but for one block."""
    if task.block != HUNGRY:
        return submit_stages(client, context, task, pinned_worker, placement)
    here: dict[str, Any] = {"workers": [pinned_worker], "priority": -HUNGRY}
    cutout = client.submit(fetch_stage, context, task, key=f"fetch-{task.name}", **here)
    return client.submit(hungry_stage, context, task, cutout, key=f"solve-{task.name}", **here)


@pytest.mark.cluster
def test_a_block_that_runs_out_of_memory_is_given_up_and_the_others_are_done(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    reference: tuple[Path, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dask's nannies end a worker at its limit, as a batch system or the kernel would."""
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(runner, "DaskCluster", partial(DaskCluster, submit=submit_hungry))
    cluster = {"workers": 2, "memory": "1.5GiB"}
    data = spec_data(volume, tmp_path / "run", tiny_prior, method=METHOD, cluster=cluster)
    spec = tmp_path / "spec.yaml"
    spec.write_text(json.dumps(data))
    status, out, err = run_ddgm(capsys, "run", spec)
    assert status == EXIT_STATUS["blocks"]
    assert f"1 of {BLOCKS} blocks failed" in err
    words = " ".join(out.split())
    assert f"block {HUNGRY} failed" in words
    assert "2 workers died at it, the last at stage reconstruct; look for memory" in words
    assert f"ddgm block {spec} --id {HUNGRY}" in words
    expected = checksums(reference[0])
    assert checksums(tmp_path / "run") == {b: c for b, c in expected.items() if b != HUNGRY}
    assert "2 workers died at it" in (tmp_path / "run/report.html").read_text()
    assert run_ddgm(capsys, "block", spec, "--id", HUNGRY)[0] == 0
    assert layers(tmp_path / "run") == reference[1]


# root writes where permissions forbid it, unless it gives up the right to (CAP_DAC_OVERRIDE)
OBEYING = """
import ctypes, os, sys
if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, "-m", "ddgm.pipeline.cli", *sys.argv[1:]])
"""


def started(folder: Path, spec: Spec) -> subprocess.Popen[str]:
    """`ddgm run` by somebody who may not write everywhere."""
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec.model_dump(mode="json")))
    command = [sys.executable, "-c", OBEYING, "run", str(path)]
    return subprocess.Popen(command, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[str]) -> str:
    """What the process said of its failure: one line."""
    err = process.communicate(timeout=180)[1]
    if process.returncode == 77:
        pytest.skip("root keeps its rights here")
    assert process.returncode == EXIT_STATUS["storage"], err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    return err


@pytest.mark.process
def test_an_output_that_may_not_be_written_is_said_before_any_block(
    tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o555)
    err = ended(started(tmp_path, small_spec(volume, disk / "run", tiny_prior)))
    assert f"{disk}/run: Permission denied; make room or mend the permissions" in err
    assert list(disk.iterdir()) == []


def test_an_output_that_turns_read_only_ends_the_run_and_finished_blocks_are_kept(
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    reference: tuple[Path, dict[str, bytes]],
) -> None:
    root = tmp_path / "run"
    spec = small_spec(volume, root, tiny_prior, method=METHOD)
    process = started(tmp_path, spec)
    while process.poll() is None and not checksums(root):
        time.sleep(0.02)
    folders = [root, *(p for p in root.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    err = ended(process)
    for folder in folders:
        folder.chmod(0o755)
    assert f"output.path: {root}: PermissionError" in err
    assert "run the same spec again: finished blocks are kept" in err
    kept = checksums(root)
    assert 1 <= len(kept) < BLOCKS
    found = verify_run(str(root), Console(quiet=True))
    assert (found.damaged, found.missing) == ([], BLOCKS - len(kept))
    again = Spec.model_validate(spec.model_dump() | {"cluster": shared.part})
    result = runner.run(again, lambda event: None)
    assert (result.resumed, result.done) == (len(kept), BLOCKS - len(kept))
    assert layers(root) == reference[1]
