"""A driver on real SLURM daemons that ends by what another start may mend."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from ddgm.deploy.slurm.folder import SlurmFolder
from ddgm.deploy.slurm.submit import submit
from tests.deploy.jobs import done, logs, slurm_spec, wait_for, wait_for_end
from tests.pipeline.runs import phantom_volume, run_ddgm


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_a_driver_whose_scheduler_dies_goes_back_into_the_queue(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path
) -> None:
    run = tmp_path / "run"
    submit(slurm_spec(phantom_volume(tmp_path / "em"), run, tiny_prior, slow=True))
    wait_for(run, "a block", lambda: done(run))
    address = str(SlurmFolder(run).path / "scheduler.json")
    found = [p for p in psutil.process_iter() if {"scheduler", address} <= set(p.cmdline())]
    for scheduler in found:
        scheduler.kill()
    assert len(found) == 1
    wait_for_end(run)
    assert SlurmFolder(run).ended == "every block is done"
    assert "ended with status 4, which another start may mend" in logs(run, "driver")
    assert run_ddgm(capsys, "verify", run)[0] == 0
