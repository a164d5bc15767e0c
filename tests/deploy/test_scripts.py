"""Job scripts as text: what each line of the spec becomes. No SLURM is needed here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ddgm.deploy.slurm.folder import SlurmFolder
from ddgm.deploy.slurm.scripts import Scripts, margin
from ddgm.workers.slurm_spec import Slurm

BIG = {
    "kind": "slurm",
    "threads": 4,
    "interface": "ib0",
    "container": "apptainer exec --nv /shared/ddgm.sif",
    "driver": {"account": "lab", "walltime": "2-00:00:00"},
    "cpu": {
        "partition": "normal",
        "account": "lab",
        "qos": "high",
        "constraint": "avx512",
        "count": {"maximum": 100},
        "cpus": 16,
        "memory": "64GiB",
        "walltime": "08:00:00",
        "setup": ["module load apptainer"],
        "sbatch": ["--exclude=node7", "--comment=a run of ddgm"],
    },
    "gpu": {"partition": "gpu", "count": 3, "gpus": 2, "cpus": 8},
}

DRIVER = """\
#!/bin/bash
#SBATCH --job-name=ddgm-hemibrain-96740e-driver
#SBATCH --output=/runs/hemibrain/slurm/logs/driver-%j.log
#SBATCH --open-mode=append
#SBATCH --chdir=/home/me
#SBATCH --account=lab
#SBATCH --time=2-00:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=8192M
#SBATCH --requeue

folder=/runs/hemibrain/slurm
python=(apptainer exec --nv /shared/ddgm.sif python3 -P)
name=ddgm-hemibrain-96740e
single=''
declare -A wanted=([cpu]=15 [gpu]=3)
seconds=172500
options=(--interface ib0)

# One kind of threads: the numerical work's, not one of each library's on top
export OMP_NUM_THREADS=4 MKL_NUM_THREADS=4 OPENBLAS_NUM_THREADS=4 NUMEXPR_NUM_THREADS=4
export DASK_CONFIG="$folder/dask.yaml" PYTHONUNBUFFERED=1

"""

CPU = """\
#!/bin/bash
#SBATCH --job-name=ddgm-hemibrain-96740e-cpu
#SBATCH --output=/runs/hemibrain/slurm/logs/cpu-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --chdir=/home/me
#SBATCH --partition=normal
#SBATCH --account=lab
#SBATCH --qos=high
#SBATCH --constraint=avx512
#SBATCH --time=08:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=65536M
#SBATCH --no-requeue
#SBATCH --exclude=node7
#SBATCH "--comment=a run of ddgm"

# From the spec
module load apptainer

folder=/runs/hemibrain/slurm
python=(apptainer exec --nv /shared/ddgm.sif python3 -P)
group=cpu
processes=4
memory=14745MiB
lifetime=28350
stagger=150
options=(--interface ib0)

# One kind of threads: the numerical work's, not one of each library's on top
export OMP_NUM_THREADS=4 MKL_NUM_THREADS=4 OPENBLAS_NUM_THREADS=4 NUMEXPR_NUM_THREADS=4
export DASK_CONFIG="$folder/dask.yaml" PYTHONUNBUFFERED=1

"""

GPU = [
    "#SBATCH --cpus-per-task=8",
    "#SBATCH --mem=32768M",
    "#SBATCH --gres=gpu:2",
    "processes=2",
    "options=(--interface ib0 --resources GPU=1)",
]

PLAIN = [
    "#SBATCH --time=04:00:00",
    "#SBATCH --cpus-per-task=2",
    "python=(/venv/bin/python -P)",
    "processes=2",
    "options=()",
]

SINGLE = [
    "#SBATCH --ntasks=3",
    "#SBATCH --cpus-per-task=5",
    "#SBATCH --mem-per-cpu=1639M",
    "#SBATCH --gpus-per-task=1",
    "#SBATCH --requeue",
    "#SBATCH --partition=gpu",
    "single=gpu",
    "declare -A wanted=()",
]


def scripts(data: dict[str, Any], blocks: int = 60) -> Scripts:
    folder = SlurmFolder(Path("/runs/hemibrain"))
    slurm = Slurm.model_validate(data)
    return Scripts(slurm, folder, blocks, python="/venv/bin/python", directory=Path("/home/me"))


def head_and_body(text: str) -> tuple[str, str]:
    """What the spec decides, and what is the same for all."""
    start = text.index("# The driver: " if "# The driver: " in text else "# Workers: ")
    return text[:start], text[start:]


def test_the_head_of_a_script_is_what_the_spec_says() -> None:
    texts = scripts(BIG).all()
    assert list(texts) == ["driver", "cpu", "gpu"]
    driver, body = head_and_body(texts["driver"])
    assert driver == DRIVER
    assert body == shipped("driver.sh")
    cpu, body = head_and_body(texts["cpu"])
    assert cpu == CPU
    assert body == shipped("worker.sh")
    assert set(GPU) <= set(texts["gpu"].splitlines())


def test_an_empty_group_has_defaults_that_name_nothing_of_a_cluster() -> None:
    texts = scripts({"kind": "slurm", "cpu": {}}).all()
    assert list(texts) == ["driver", "cpu"]
    assert set(PLAIN) <= set(texts["cpu"].splitlines())
    for word in ("partition", "account", "qos", "constraint", "gres", "interface"):
        assert f"--{word}=" not in texts["driver"] + texts["cpu"]


def test_a_single_job_asks_for_all_of_its_workers_at_once() -> None:
    gpu = {"partition": "gpu", "count": 3, "cpus": 5, "memory": "8GiB"}
    texts = scripts({"kind": "slurm", "single_job": True, "gpu": gpu}).all()
    assert set(SINGLE) <= set(texts["driver"].splitlines())
    assert "lifetime=''" in texts["gpu"].splitlines()  # all end with the driver


def test_a_maximum_is_no_more_jobs_than_there_are_blocks_for() -> None:
    data = {"kind": "slurm", "cpu": {"count": {"maximum": 100}, "cpus": 4}, "gpu": {"count": 7}}
    for blocks, jobs in ((9, 3), (1, 1), (10_000, 100)):
        assert f"[cpu]={jobs} [gpu]=7)" in scripts(data, blocks).driver()


@pytest.mark.parametrize(("walltime", "spare"), [(60, 10), (1200, 200), (86_400, 300)])
def test_the_margin_is_minutes_where_the_walltime_has_room_for_it(
    walltime: int, spare: int
) -> None:
    assert margin(walltime) == spare


def test_odd_paths_stay_one_word() -> None:
    folder = SlurmFolder(Path("/runs/50% of it; rm -rf $HOME"))
    text = Scripts(Slurm.model_validate(BIG), folder, 1, directory=Path("/home/a b")).worker("cpu")
    assert "\nfolder='/runs/50% of it; rm -rf $HOME/slurm'\n" in text
    assert '#SBATCH "--output=/runs/50%% of it; rm -rf $HOME/slurm/logs/cpu-%A_%a.log"' in text
    assert '#SBATCH "--chdir=/home/a b"' in text
    assert folder.name.startswith("ddgm-50-of-it-rm--rf-HOME-")


@pytest.mark.process
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
@pytest.mark.parametrize("single", [False, True])
def test_shellcheck_finds_nothing_in_the_scripts(tmp_path: Path, single: bool) -> None:
    one: dict[str, Any] = {"kind": "slurm", "single_job": True, "cpu": {}}
    for role, text in scripts(one if single else BIG).all().items():
        path = tmp_path / f"{role}.sh"
        path.write_text(text)
        found = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True)
        assert found.stdout == ""
        assert found.returncode == 0


def shipped(name: str) -> str:
    import ddgm.deploy.slurm.scripts as module

    return Path(module.__file__).with_name(name).read_text()
