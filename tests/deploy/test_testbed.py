"""The testbed: up, on loopback alone, and gone again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ddgm.deploy.slurm import testbed


def daemons(folder: Path) -> set[str]:
    """Names of the processes that live in a testbed's folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.add((process / "comm").read_text().strip())
        except OSError:  # it has ended meanwhile
            continue
    return found


@pytest.mark.slurm
def test_a_testbed_runs_a_job_on_each_node_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "testbed"
    environment = {**os.environ, **testbed.start(folder)}
    try:
        assert daemons(folder) >= {"munged", "slurmctld", "slurmd"}
        with pytest.raises(testbed.TestbedError, match="is there already"):
            testbed.start(folder)
        for partition, node in (("cpu", "cpu1"), ("gpu", "gpu1")):
            words = ["srun", "--partition", partition, "--mem=100M", "printenv", "SLURMD_NODENAME"]
            assert subprocess.check_output(words, env=environment, text=True).strip() == node
        open_to_all = subprocess.check_output(["ss", "-ltnpH"], text=True)
        listening = [line for line in open_to_all.splitlines() if "slurm" in line]
        assert len(listening) >= 3
        assert all(line.split()[3].startswith("127.0.0.1:") for line in listening)
        script = ["sbatch", "--wrap", "sleep 600", "--output=/dev/null"]
        subprocess.run(script, env=environment, check=True, capture_output=True)
    finally:
        testbed.stop(folder)
    assert daemons(folder) == set()
    assert not folder.exists()
    testbed.stop(folder)


def test_without_slurm_a_testbed_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testbed, "PROGRAMS", ("nonesuch-daemon",))
    with pytest.raises(testbed.TestbedError, match="apt-get install slurm-wlm munge"):
        testbed.start(tmp_path / "testbed")
    assert not (tmp_path / "testbed").exists()
