"""A training that was stopped ends where an undisturbed one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ddgm.core.training.module import NoisePrediction
from ddgm.pipeline.training.spec import TrainingSpec
from tests.pipeline.training.results import GIVEN, same, weights
from tests.pipeline.training.specs import (
    rows,
    trained,
    training_data,
    training_spec,
    volume,
    write_spec,
)
from tests.processes import wait_for

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("no_long_waits")]


def start(spec: Path) -> subprocess.Popen[str]:
    """`ddgm train`, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ddgm.pipeline.cli", "train", str(spec)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def test_sigterm_saves_and_the_next_start_ends_where_an_undisturbed_one_does(
    tmp_path: Path,
) -> None:
    url = volume(tmp_path / "em")
    training = {"steps": 250, "schedule": "cosine", "optimizer": "muon"}
    data = training_data(url, tmp_path / "out", training=training, save_every=15)
    process = start(write_spec(tmp_path, data))
    wait_for((tmp_path / "out" / "last.ckpt").exists, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.startswith("error: stopped after ")
    assert err.count("\n") == 1
    stopped = int(err.split()[3])
    assert 15 <= stopped < 250
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
    data = training_data(url, tmp_path / "out", GIVEN, devices=2, training={"steps": 120})
    spec = write_spec(tmp_path, data)
    process = start(spec)
    wait_for((tmp_path / "out" / "last.ckpt").exists, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "error: stopped after" in err
    assert not (tmp_path / "out" / "prior.safetensors").exists()

    process = start(spec)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.count("wrote ") == 1
    one = trained(TrainingSpec.model_validate({**data, "devices": 1, "output": f"{tmp_path}/one"}))
    found = {row["step"]: row["loss"] for row in rows(tmp_path / "out" / "loss.csv")}
    wanted = {row["step"]: row["loss"] for row in rows(one / "loss.csv")}
    assert [found[s] for s in (100, 120)] == pytest.approx(
        [wanted[s] for s in (100, 120)], rel=0.01
    )
    close = weights(one)
    for name, weight in weights(tmp_path / "out").items():
        torch.testing.assert_close(weight, close[name], rtol=0.02, atol=2e-3)
