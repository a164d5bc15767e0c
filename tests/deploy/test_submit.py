"""`ddgm submit`, `cancel` and `status` as far as they go without SLURM."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ddgm.deploy.slurm.cost import cost_rows
from ddgm.deploy.slurm.folder import Lost, SlurmFolder, SlurmJob
from ddgm.deploy.slurm.submit import dask_settings, scripts_of
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.terminal import table
from ddgm.workers.settings import settings
from tests.deploy.jobs import cluster, slurm_spec
from tests.pipeline.runs import phantom_volume, run_ddgm, spec_data

BAD = [
    ({"kind": "slurm"}, "cluster.cpu: give this group, or gpu, or both"),
    ({"cpu": {"walltime": "12:00"}}, "cluster.cpu.walltime: must be [days-]hours:minutes:seconds"),
    ({"cpu": {"walltime": "00:00:30"}}, "a minute at least"),
    ({"cpu": {"memory": "many"}}, "cluster.cpu.memory: must be a size from 100MiB up"),
    ({"cpu": {"cpus": 0}}, "cluster.cpu.cpus: input should be greater than or equal to 1"),
    ({"cpu": {"count": 0}}, "cluster.cpu.count: input should be greater than or equal to 1"),
    ({"cpu": {"count": {"maximum": 0}}}, "cluster.cpu.count.maximum: input should be greater"),
    ({"cpu": {"partition": "a b"}}, "cluster.cpu.partition: string should match pattern"),
    ({"cpu": {"sbatch": ["exclude=n7"]}}, "cluster.cpu.sbatch: 'exclude=n7' must be an option"),
    ({"cpu": {"gpus": 1}}, "cluster.cpu.gpus: unknown key; did you mean 'cpus'?"),
    ({"threads": 8, "cpu": {"cpus": 4}}, "cluster.cpu.cpus: 4 is less than threads, 8"),
    ({"single_job": True, "cpu": {}, "gpu": {}}, "cluster.single_job: takes one group"),
    (
        {"single_job": True, "cpu": {}, "driver": {"cpus": 8}},
        "cluster.driver: a single job asks for what",
    ),
]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


def written(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "spec.yaml"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(("slurm", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_slurm_section_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, slurm: dict[str, Any], message: str
) -> None:
    data = {"source": {"url": "file:///em"}, "output": {"path": "run"}}
    path = written(tmp_path, {**data, "cluster": {"kind": "slurm", **slurm}})
    status, _, err = run_ddgm(capsys, "submit", path, "--dry-run")
    assert status == 1
    assert message in err
    assert err.count("\n") == 1


def test_a_walltime_stays_a_time_of_day_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "source: {url: a}\noutput: {path: run}\n"
        "cluster: {kind: slurm, cpu: {walltime: 12:30:00, memory: 8GiB}}\n"
    )
    spec: Any = load_spec(path).cluster
    assert spec.cpu.seconds == 12 * 3600 + 30 * 60
    assert spec.cpu.bytes == 8 * 2**30


def test_a_dry_run_prints_the_scripts_and_their_cost_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    data = spec_data(volume, tmp_path / "run", tiny_prior)
    path = written(tmp_path, {**data, "cluster": cluster(gpu=True)})
    status, out, err = run_ddgm(capsys, "submit", path, "--dry-run")
    assert status == 0, err
    for role, text in scripts_of(load_spec(path)).all().items():
        assert f"{role}.sh\n{text}" in out
    assert "core-hours" in out
    status, out, err = run_ddgm(capsys, "submit", path, "--dry-run", "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    scripts = scripts_of(load_spec(path))
    assert list(facts["scripts"].values()) == list(scripts.all().values())
    group = scripts.slurm.groups["gpu"]
    assert facts["gpu"]["jobs"] == scripts.jobs(group)
    assert facts["gpu"]["walltime_seconds"] == group.seconds
    assert facts["core_hours"] > 0 < facts["run_seconds"]
    assert run_ddgm(capsys, "submit", path, "--json")[0] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spec.yaml"]


def test_the_cost_is_jobs_times_cores_times_hours(
    tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    groups: dict[str, Any] = {
        "driver": {"cpus": 2, "walltime": "10:00:00"},
        "cpu": {"cpus": 8, "count": 3, "walltime": "02:30:00", "memory": "1GiB"},
        "gpu": {"cpus": 4, "gpus": 2, "count": 5, "walltime": "1-00:00:00", "memory": "32GiB"},
    }
    spec = slurm_spec(volume, tmp_path / "run", tiny_prior, **groups)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table("cost", cost_rows(spec, scripts_of(spec), console)))
    text = console.export_text()
    assert "1 job of 2 cores, 2GiB, 10:00:00: 20.0 core-hours" in text
    assert "3 jobs of 8 cores, 1GiB, 02:30:00: 60.0 core-hours" in text
    assert "5 jobs of 4 cores, 2 GPUs, 32GiB, 1-00:00:00: 480.0 core-hours, 240.0 GPU-hours" in text
    assert "too little: raise cluster.cpu.memory" in text  # an eighth of it for each worker
    assert "with all 34 workers" in text  # 3 jobs of 8, 5 of 2


def test_memory_is_enough_where_a_run_would_take_it(
    tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    """A run uses nine tenths of a worker's memory, which has nine tenths of its job's."""

    def said(memory: int) -> str:
        groups: dict[str, Any] = {
            "cpu": {"cpus": 1, "count": 1, "walltime": "01:00:00", "memory": f"{memory}B"}
        }
        spec = slurm_spec(volume, tmp_path / "run", tiny_prior, **groups)
        rows = cost_rows(spec, scripts_of(spec), Console(file=io.StringIO()))
        return next(row.text for row in rows if row.name == "memory of a cpu worker")

    needed = worker_memory(make_plan(slurm_spec(volume, tmp_path / "run", tiny_prior))).total
    assert "too little" in said(int(needed / 0.9 * 1.05))
    assert said(int(needed / 0.9 / 0.9 * 1.01)).endswith("enough")


def test_other_clusters_and_other_places_are_sent_elsewhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    data = spec_data(volume, tmp_path / "run", tiny_prior)
    assert "cluster.kind: local has no batch jobs" in error(capsys, "submit", tmp_path, data)
    data["cluster"] = cluster()
    assert "send them with `ddgm submit`" in error(capsys, "run", tmp_path, data)
    data["output"]["path"] = "memory://run"
    assert "output.path: memory://run is no path" in error(capsys, "submit", tmp_path, data)


@pytest.mark.process
def test_without_slurm_a_submission_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_prior: Path,
    volume: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    data = {**spec_data(volume, tmp_path / "run", tiny_prior), "cluster": cluster()}
    assert "slurm: there is no squeue here" in error(capsys, "submit", tmp_path, data)
    assert not (tmp_path / "run").exists()
    status, _, err = run_ddgm(capsys, "cancel", tmp_path / "run")
    assert status == 1
    assert err.endswith("nothing was submitted; give the folder of a submitted run\n")


def test_what_jobs_wrote_down_is_read_back(tmp_path: Path) -> None:
    folder = SlurmFolder(tmp_path / "run")
    folder.path.mkdir(parents=True)
    assert (folder.jobs(), folder.lost(), folder.ended, folder.job_names()) == ([], [], "", [])
    folder.record(SlurmJob("12", "driver"))
    folder.record(SlurmJob("13", "cpu"))
    (folder.path / "lost").write_text("13_0 cpu start\n13_1 cpu work\n13_2 c")  # not all there yet
    folder.end("it was cancelled")
    assert folder.jobs() == [SlurmJob("12", "driver"), SlurmJob("13", "cpu")]
    assert folder.lost() == [Lost("13_0", "cpu", "start"), Lost("13_1", "cpu", "work")]
    assert folder.ended == "it was cancelled"


def test_runs_of_one_name_in_two_places_have_jobs_of_two_names(tmp_path: Path) -> None:
    here, there = SlurmFolder(tmp_path / "a/run"), SlurmFolder(tmp_path / "b/run")
    assert here.name != there.name
    assert here.name.startswith("ddgm-run-")


def test_dask_is_told_to_let_in_only_who_has_the_key() -> None:
    told = dask_settings("/runs/a/slurm/tls.pem")["distributed"]
    failures = told["scheduler"]["allowed-failures"]
    assert failures == settings()["distributed.scheduler.allowed-failures"] == 0
    assert told["comm"]["require-encryption"] is True
    for role in ("scheduler", "worker", "client"):
        assert told["comm"]["tls"][role]["key"] == "/runs/a/slurm/tls.pem"


def error(
    capsys: pytest.CaptureFixture[str], command: str, folder: Path, data: dict[str, Any]
) -> str:
    """What a command says of a spec that it refuses."""
    status, _, err = run_ddgm(capsys, command, written(folder, data))
    assert status == 1
    assert err.count("\n") == 1
    return err
