"""What is looked at before a run: can these grey levels be what the prior knows?"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from ddgm.core.networks.prior import PriorError
from ddgm.pipeline.block.stages import fetch_stage, reconstruct_stage, simulate_stage
from ddgm.pipeline.block.task import BlockTask
from ddgm.pipeline.block.timing import time_calls
from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run.preflight import VersionError, prepare
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.runs import (
    CHUNK,
    OFFSET,
    SHAPE,
    phantom_volume,
    run_ddgm,
    small_spec,
    spec_data,
)
from tests.pipeline.sample_volumes import chunk_file, grey, write_volume
from tests.workers.shared import Shared

EIGHT_BIT = {"mean": 128.0, "std": 34.0}
FAR = {"mean": 20_000.0, "std": 5.0}


def float_spec(url: str, run: Path, weights: Path, intensity: dict[str, float]) -> Spec:
    """As any voxel type needs it."""
    data = spec_data(url, run, weights, source={"intensity": intensity})
    data["output"]["dtype"] = "float32"
    return Spec.model_validate(data)


def near(message: str) -> tuple[float, float]:
    """The mean and std that a refusal advises."""
    found = re.search(r"near ([\d.e+]+) and ([\d.e+]+)$", message)
    assert found, message
    return float(found[1]), float(found[2])


def test_an_intensity_far_from_the_volumes_is_refused_with_what_would_do(
    tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em")
    run = tmp_path / "run"
    with pytest.raises(
        PriorError, match=r"^source\.intensity: with mean 2e\+04 and std 5"
    ) as caught:
        prepare(small_spec(url, run, tiny_prior, source={"intensity": FAR}))
    assert "(the spec's)" in str(caught.value)
    assert "where the prior learnt 0 ± 1" in str(caught.value)
    assert not run.exists()
    mean, std = near(str(caught.value))
    advised = {"mean": mean, "std": std}
    prepare(small_spec(url, run, tiny_prior, source={"intensity": advised}))


@pytest.mark.parametrize(("scale", "shift"), [(1, 1000), (40, 0), (1, 30_000)])
def test_sixteen_bits_with_the_numbers_of_eight_are_refused(
    tmp_path: Path, tiny_prior: Path, scale: int, shift: int
) -> None:
    levels = grey(SHAPE, "uint16").astype(np.int64) % 256 * scale + shift
    url = write_volume(tmp_path / "em", levels.astype(np.uint16), chunk=CHUNK, offset=OFFSET)
    with pytest.raises(PriorError, match=r"source\.intensity: ") as caught:
        prepare(float_spec(url, tmp_path / "run", tiny_prior, EIGHT_BIT))
    mean, std = near(str(caught.value))
    assert mean == pytest.approx(float(levels.mean()), rel=0.05)
    assert std == pytest.approx(float(levels.std()), rel=0.1)


def test_a_missing_chunk_is_the_blocks_affair(tmp_path: Path, tiny_prior: Path) -> None:
    """The run starts, and the block says what it lacks."""
    url = phantom_volume(tmp_path / "em", chunk=(32, 140, 8))
    chunk_file(tmp_path / "em", OFFSET).unlink()
    spec = small_spec(url, tmp_path / "run", tiny_prior)
    prepare(spec)
    with pytest.raises(SourceError, match="missing"):
        run_alone(spec, 0)


def hollow(dtype: str, value: float) -> np.ndarray:
    """Tissue, but for the first slices."""
    data = np.random.default_rng(0).normal(128, 34, SHAPE).clip(0, 255).astype(dtype)
    data[:, :, :8] = value
    return data


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 0), ("float32", np.nan)])
def test_emptiness_beside_a_tissue_is_no_reason_to_refuse(
    tmp_path: Path, tiny_prior: Path, dtype: str, value: float
) -> None:
    url = write_volume(tmp_path / "em", hollow(dtype, value), chunk=CHUNK, offset=OFFSET)
    prepare(float_spec(url, tmp_path / "run", tiny_prior, {"mean": 160.0, "std": 30.0}))


def test_a_precision_that_only_its_gpus_have_is_planned_for_anywhere(
    tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path)
    data = spec_data(url, tmp_path / "run", tiny_prior)
    data |= {"prior": data["prior"] | {"precision": "float8"}}
    if not torch.cuda.is_available():
        with pytest.raises(PriorError, match="float8 needs a GPU"):
            prepare(Spec.model_validate(data))  # its workers would be on this machine
        assert not (tmp_path / "run").exists()
    elsewhere = {"kind": "address", "address": "tcp://127.0.0.1:1"}
    spec = Spec.model_validate(data | {"cluster": elsewhere})
    context = prepare(spec)
    assert time_calls(context.plan).network_call > 0
    task = BlockTask(block=0, attempt=1, name="", calls=False)
    sinogram = simulate_stage(context, task, fetch_stage(context, task))
    if not torch.cuda.is_available():
        with pytest.raises(PriorError, match="float8 needs a GPU"):
            reconstruct_stage(context, task, sinogram)


def begun_with(shared: Shared, folder: Path, prior: Path, **versions: str) -> Path:
    """A run of two blocks, one of them done, by these versions; the path of its spec."""
    url = phantom_volume(folder / "em")
    data = spec_data(url, folder / "run", prior, block={"slices": 16})
    data["cluster"] = shared.part
    run_alone(Spec.model_validate(data), 0)
    store = RunStore(str(folder / "run"))
    manifest = store.manifest()
    manifest["versions"] |= versions
    store.write_manifest(manifest)
    spec = folder / "spec.yaml"
    spec.write_text(json.dumps(data))
    return spec


def state(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Contents and times of all files."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_a_run_begun_with_another_version_is_gone_on_with_only_when_told_to(
    shared: Shared, tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = begun_with(shared, tmp_path, tiny_prior, torch="0.9")
    before, here = state(tmp_path), version("torch")
    status, _, err = run_ddgm(capsys, "run", spec)
    assert status == 1
    assert err == (
        f"error: output.path: {tmp_path}/run was begun with torch 0.9, and here is {here}, which "
        "may compute other bytes; install torch 0.9, or go on all the same with --other-versions\n"
    )
    assert state(tmp_path) == before
    assert run_ddgm(capsys, "run", spec, "--other-versions")[0] == 0
    assert [r.block for r in RunStore(str(tmp_path / "run")).ledger.records()] == [0, 1]
    versions = RunStore(str(tmp_path / "run")).manifest()["versions"]
    assert versions["torch"] == f"0.9 and {here}"
    assert run_ddgm(capsys, "run", spec)[0] == 0, "by a version that has a part in it already"


@pytest.mark.parametrize("package", ["astra-toolbox", "numpy", "scipy"])
def test_so_it_is_with_all_that_computes_bytes(
    shared: Shared, tmp_path: Path, tiny_prior: Path, package: str
) -> None:
    spec = load_spec(begun_with(shared, tmp_path, tiny_prior, **{package: "0.9"}))
    with pytest.raises(VersionError, match=f"was begun with {package} 0.9, and here is"):
        prepare(spec)
    prepare(spec, other_versions=True)
    prepare(spec)


def test_what_decides_no_byte_may_change(
    shared: Shared, tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = begun_with(shared, tmp_path, tiny_prior, python="3.8", dask="1", zarr="0.1")
    assert run_ddgm(capsys, "run", spec)[0] == 0


def test_a_repair_by_another_version_is_refused_before_any_record_goes(
    shared: Shared, tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun_with(shared, tmp_path, tiny_prior, torch="0.9")
    shard = tmp_path / "run/volume.zarr/truth/0/c/0/0/0"
    good = shard.read_bytes()
    shard.write_bytes(good[:-40])
    before = state(tmp_path)
    status, _, err = run_ddgm(capsys, "repair", tmp_path / "run")
    assert status == 1
    assert "was begun with torch 0.9" in err
    assert err.count("\n") == 1
    assert state(tmp_path) == before
    status, out, err = run_ddgm(capsys, "repair", tmp_path / "run", "--other-versions")
    assert "1 block mended" in out
    assert (status, "not done: " in err) == (EXIT_STATUS["blocks"], True), (
        "the rest is for `ddgm run`"
    )
    assert shard.read_bytes() == good
