"""`ddgm train` on real volumes: weights that load, whatever comes between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddgm.core.errors import DdgmError
from ddgm.core.networks.prior import load_prior
from ddgm.core.training.module import NoisePrediction
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.training import bricks as brick_files
from ddgm.pipeline.training.spec import TrainingSpec
from ddgm.pipeline.training.train import claim
from tests.pipeline.sample_volumes import chunk_file, grey, write_volume
from tests.pipeline.training.specs import (
    ORIGIN,
    rows,
    size,
    trained,
    training_data,
    training_spec,
    volume,
    write_spec,
)

GIVEN = {"intensity": {"mean": 128.0, "std": 74.0}}
LEFT = {"intensity.json", "last.ckpt", "loss.csv", "prior.safetensors", "spec.yaml"}


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brick_files, "PATIENCE", 30.0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_prior(str(folder / "prior.safetensors")).network.state_dict()


def same(a: Path, b: Path) -> bool:
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(w, right[n]) for n, w in left.items())


def start(spec: Path) -> subprocess.Popen[str]:
    """`ddgm train`, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ddgm.pipeline.cli", "train", str(spec)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two volumes with shares of the patches unlike those of the voxels."""
    folder = tmp_path_factory.mktemp("volumes")
    a = volume(folder / "a", (20, 40, 36), voxel_size_nm=(16, 16, 16))
    b = volume(folder / "b", (16, 24, 40), seed=1, voxel_size_nm=(16, 16, 16))
    return [{"url": a, "share": 1.0}, {"url": b, "share": 3.0}]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, both: list[dict[str, Any]]) -> Path:
    """A training that was validated, and is done."""
    validation = {"url": both[0]["url"], "patches": 6, "every": 5, "slices": 1}
    out = tmp_path_factory.mktemp("done") / "out"
    return trained(training_spec("", out, {"volumes": both}, validation=validation))


def test_a_training_writes_a_prior_with_its_card(done: Path, both: list[dict[str, Any]]) -> None:
    prior = load_prior(str(done / "prior.safetensors"))
    voxels = np.concatenate([grey((20, 40, 36)).ravel(), grey((16, 24, 40), seed=1).ravel()])
    card = prior.card
    assert (card.mean, card.std) == pytest.approx((voxels.mean(), voxels.std()), rel=1e-6)
    assert (card.voxel_size_nm, card.patch, card.sigma_range) == (16.0, 16, (0.03, 30.0))
    assert (card.architecture.width, card.architecture.levels) == (8, 2)
    assert (card.training["origin"], card.training["steps"]) == (ORIGIN, 12)
    assert [(v["url"], v["share"]) for v in card.training["volumes"]] == [
        (v["url"], v["share"]) for v in both
    ]
    assert card.training["phantom"] is None


def test_a_training_leaves_tables_and_pictures_and_no_bricks(done: Path) -> None:
    tables = {"validation.csv", "curves.png", "denoised.png", "samples.png"}
    assert {p.name for p in done.iterdir()} == LEFT | tables
    assert [row["step"] for row in rows(done / "loss.csv")] == [4, 8, 10, 12]
    scores = rows(done / "validation.csv")
    assert [row["step"] for row in scores] == [5, 10, 12]
    assert all(np.isfinite(list(row.values())).all() for row in scores)


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"training": {"lr": 0.5}}, "training.lr"),
    ({"training": {"seed": 1, "batch": 2}}, "training.batch, training.seed"),
    ({"network": {"width": 16}}, "network.width"),
    ({"data": {"origin": "elsewhere"}}, "data.origin"),
    ({"data": {"phantom": {"share": 0.5, "side": 16}}}, "data.phantom"),
    ({"validation": {"patches": 7}}, "validation.patches"),
]


@pytest.mark.parametrize(("change", "field"), OTHER, ids=[f for _, f in OTHER])
def test_a_folder_of_another_spec_is_kept(done: Path, change: dict[str, Any], field: str) -> None:
    spec = load_spec(done / "spec.yaml", TrainingSpec).model_dump(mode="json")
    for part, values in change.items():
        spec[part] = {**spec[part], **values}
    before = {p.name: p.read_bytes() for p in done.iterdir()}
    with pytest.raises(DdgmError, match=f"which differs in {field}; ") as caught:
        claim(done, TrainingSpec.model_validate(spec))
    assert str(caught.value).startswith(f"output: {done} holds a training of another spec")
    assert {p.name: p.read_bytes() for p in done.iterdir()} == before


def test_a_training_that_is_done_is_kept(done: Path) -> None:
    with pytest.raises(DdgmError, match="holds a training that is done"):
        trained(load_spec(done / "spec.yaml", TrainingSpec))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_is_kept(tmp_path: Path, kind: str) -> None:
    url = volume(tmp_path / "em")
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    note = out if kind == "file" else out / "notes.txt"
    note.write_text("mine")
    with pytest.raises(DdgmError, match=r"output: .* holds something else"):
        trained(training_spec(url, out))
    assert note.read_text() == "mine"


def test_a_training_that_goes_on_may_run_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaders, checkpoints and cache change nothing of what comes out; a lost cache neither."""
    url = volume(tmp_path / "em")
    cache = {"cache": {"folder": str(tmp_path / "cache"), "brick": 32}}
    spec = training_spec(url, tmp_path / "out", cache)
    step = NoisePrediction.training_step

    def dies(module: NoisePrediction, batch: Any, batch_idx: int) -> torch.Tensor:
        if module.global_step == 6:
            raise RuntimeError("killed")
        return step(module, batch, batch_idx)

    with monkeypatch.context() as dying:
        dying.setattr(NoisePrediction, "training_step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            trained(spec)
    checkpoint = tmp_path / "out" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 4
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    other = {"folder": str(tmp_path / "elsewhere"), "processes": 1}
    changed = spec.model_copy(
        update={
            "loaders": 2,
            "save_every": 5,
            "data": spec.data.model_copy(
                update={"cache": spec.data.cache.model_copy(update=other)}
            ),
        }
    )
    assert trained(changed) == tmp_path / "out"
    whole = training_spec(url, tmp_path / "whole", {"cache": {"brick": 32}})
    assert same(tmp_path / "out", trained(whole))


def test_a_given_intensity_needs_no_pass_over_the_voxels(tmp_path: Path) -> None:
    folder = trained(training_spec(volume(tmp_path / "em"), tmp_path / "out", GIVEN))
    assert {p.name for p in folder.iterdir()} == LEFT - {"intensity.json"}
    assert load_prior(str(folder / "prior.safetensors")).card.mean == 128.0


def test_a_flat_phantomlike_volume_beside_another_does_no_harm(tmp_path: Path) -> None:
    flat = write_volume(tmp_path / "flat", np.full((20, 20, 20), 9, np.uint8))
    volumes = {"volumes": [{"url": flat}, {"url": volume(tmp_path / "em")}]}
    phantom = {"phantom": {"share": 0.3, "side": 24}}
    folder = trained(training_spec(flat, tmp_path / "out", {**volumes, **phantom}))
    assert np.isfinite([row["loss"] for row in rows(folder / "loss.csv")]).all()
    card = load_prior(str(folder / "prior.safetensors")).card
    assert card.training["phantom"] == {"share": 0.3, "side": 24, "seed": 1}


def test_a_volume_larger_than_the_cache_is_trained_on_within_it(tmp_path: Path) -> None:
    """Eight bricks with room for five: every one comes, and goes, and the bound holds."""
    url = volume(tmp_path / "em", (8, 64, 128), chunk=(8, 32, 32))
    room = 5.5 * 8 * 32 * 32
    cache = {"cache": {"brick": 32, "gigabytes": room / 1e9, "processes": 1}, **GIVEN}
    training = {"steps": 90, "batch": 8}
    spec = training_spec(url, tmp_path / "out", cache, training=training, save_every=50)
    largest, seen, over = 0, set[str](), threading.Event()

    def watch() -> None:
        nonlocal largest
        bricks = tmp_path / "out" / "bricks"
        while not over.is_set():
            largest = max(largest, size(bricks))
            seen.update(p.name for p in bricks.glob("*.npy"))
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        trained(spec)
    finally:
        over.set()
        watcher.join()
    assert len(seen) == 8
    assert 0 < largest <= room


def test_a_brick_that_cannot_be_fetched_ends_the_training(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", (20, 40, 36), chunk=(20, 20, 18))
    chunk_file(tmp_path / "em", (0, 20, 18)).unlink()
    with pytest.raises(DdgmError, match="missing") as caught:
        trained(training_spec(url, tmp_path / "out", {**GIVEN, "cache": {"brick": 32}}))
    message = str(caught.value)
    assert url in message
    assert "box z 0:20, y 20:40, x " in message
    assert "\n" not in message
    assert not (tmp_path / "out" / "prior.safetensors").exists()


def test_a_volume_with_a_missing_chunk_can_be_filled(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", (20, 40, 36), chunk=(20, 20, 18))
    chunk_file(tmp_path / "em", (0, 20, 18)).unlink()
    folder = trained(
        training_spec(url, tmp_path / "out", {"volumes": [{"url": url, "missing": 7}]})
    )
    filled = grey((20, 40, 36))
    filled[:, 20:, 18:] = 7
    card = load_prior(str(folder / "prior.safetensors")).card
    assert (card.mean, card.std) == pytest.approx((filled.mean(), filled.std()), rel=1e-6)


def test_sigterm_saves_and_the_next_start_ends_where_an_undisturbed_one_does(
    tmp_path: Path,
) -> None:
    url = volume(tmp_path / "em")
    training = {"steps": 500, "schedule": "cosine", "optimizer": "muon"}
    data = training_data(url, tmp_path / "out", training=training, save_every=15)
    process = start(write_spec(tmp_path, data))
    wait_for(tmp_path / "out" / "last.ckpt", process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.startswith("error: stopped after ")
    assert err.count("\n") == 1
    stopped = int(err.split()[3])
    assert 15 <= stopped < 500
    state = torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)
    assert state["global_step"] == stopped
    assert not (tmp_path / "out" / "prior.safetensors").exists()

    resumed = trained(TrainingSpec.model_validate(data))
    whole = trained(TrainingSpec.model_validate({**data, "output": str(tmp_path / "whole")}))
    assert same(resumed, whole)
    found = {row["step"]: row for row in rows(resumed / "loss.csv")}
    wanted = {row["step"]: row for row in rows(whole / "loss.csv")}
    assert len(found) == len(rows(resumed / "loss.csv"))
    assert list(found) == sorted(found)
    assert set(found) == {*wanted, stopped}
    after = min(step for step in wanted if step >= stopped)  # its mean began at the stop
    for step in set(wanted) - {after, stopped}:
        assert found[step]["loss"] == wanted[step]["loss"]
        assert found[step]["lr"] == wanted[step]["lr"]


def test_two_devices_train_as_one(tmp_path: Path) -> None:
    """Stopped once by a signal to the first alone; both must leave, and write nothing yet."""
    url = volume(tmp_path / "em")
    data = training_data(url, tmp_path / "out", GIVEN, devices=2, training={"steps": 200})
    spec = write_spec(tmp_path, data)
    process = start(spec)
    wait_for(tmp_path / "out" / "last.ckpt", process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 1, err
    assert "error: stopped after" in err
    assert not (tmp_path / "out" / "prior.safetensors").exists()

    process = start(spec)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.count("wrote ") == 1
    one = trained(TrainingSpec.model_validate({**data, "devices": 1, "output": f"{tmp_path}/one"}))
    found = {row["step"]: row["loss"] for row in rows(tmp_path / "out" / "loss.csv")}
    wanted = {row["step"]: row["loss"] for row in rows(one / "loss.csv")}
    assert [found[s] for s in (180, 200)] == pytest.approx(
        [wanted[s] for s in (180, 200)], rel=0.01
    )
    close = weights(one)
    for name, weight in weights(tmp_path / "out").items():
        torch.testing.assert_close(weight, close[name], rtol=0.02, atol=2e-3)


def test_a_spec_that_is_put_right_may_have_the_same_output(tmp_path: Path) -> None:
    url = volume(tmp_path / "em")
    for wrong in (
        training_spec(url, tmp_path / "out", training={"patch": 64}),
        training_spec(url, tmp_path / "out", validation={"url": f"{url}-not-there"}),
    ):
        with pytest.raises(DdgmError):
            trained(wrong)
        assert not (tmp_path / "out").exists()
    trained(training_spec(url, tmp_path / "out"))
