"""What a training leaves to read goes on over restarts without a gap or a repetition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ddgm.core.training.events import Started, Stepped, Validated
from ddgm.pipeline.training.log import Table, TrainingLog
from ddgm.pipeline.training.progress import TrainingProgress
from tests.pipeline.training.specs import rows


def started(step: int) -> Started:
    return Started(step, 100, 1234, 5_000_000_000, "CPU")


def stepped(step: int) -> Stepped:
    return Stepped(step, 1 / step, 1e-3, 12.5, 0.25)


def validated(step: int, scored: bool = True) -> Validated:
    images = np.random.default_rng(step).standard_normal((7, 3, 16, 16)).astype(np.float32)
    return Validated(
        step,
        {0.03: 0.9, 30.0: 0.01},
        0.2 if scored else float("nan"),
        0.6 if scored else float("nan"),
        {"denoised": images, "samples": images[:2]},
    )


def test_the_loss_is_a_table(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log(started(0))
    for step in (10, 20):
        log(stepped(step))
    assert rows(tmp_path / "loss.csv") == [
        {"step": s, "loss": 1 / s, "lr": 0.001, "patches_per_second": 12.5, "waiting": 0.25}
        for s in (10, 20)
    ]


def test_a_start_that_goes_on_drops_what_it_does_again(tmp_path: Path) -> None:
    first = TrainingLog(tmp_path)
    first(started(0))
    for step in (10, 20, 30, 40):
        first(stepped(step))
        if step in (20, 30):
            first(validated(step))
    again = TrainingLog(tmp_path)
    again(started(20))
    assert [row["step"] for row in rows(tmp_path / "loss.csv")] == [10, 20]
    assert [row["step"] for row in rows(tmp_path / "validation.csv")] == [20]
    again(stepped(30))
    assert [row["step"] for row in rows(tmp_path / "loss.csv")] == [10, 20, 30]


def test_a_training_begun_anew_keeps_nothing(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log(stepped(10))
    log(started(0))
    assert not (tmp_path / "loss.csv").exists()
    assert Table(tmp_path / "loss.csv").rows() == []


@pytest.mark.parametrize("scored", [True, False])
def test_a_validation_is_a_row_and_pictures(tmp_path: Path, scored: bool) -> None:
    log = TrainingLog(tmp_path)
    log(started(0))
    log(stepped(10))
    log(validated(10, scored))
    scores = {"mse": 0.2, "ratio": 0.6} if scored else {}
    errors = {"error_0.03": 0.9, "error_30": 0.01}
    assert rows(tmp_path / "validation.csv") == [{"step": 10, **errors, **scores}]
    pictures = {p.name: p.read_bytes() for p in tmp_path.glob("*.png")}
    assert set(pictures) == {"denoised.png", "samples.png", "curves.png"}
    assert all(png.startswith(b"\x89PNG") for png in pictures.values())
    log(validated(20, scored))
    assert (tmp_path / "samples.png").read_bytes() != pictures["samples.png"]


def test_a_person_is_told_of_start_and_validations_but_not_of_each_update(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as f:
        console = Console(file=f, width=200)
        with TrainingProgress(console) as progress:
            for event in (started(20), *map(stepped, range(30, 90, 10)), validated(90, False)):
                progress(event)
    first, last = (tmp_path / "out").read_text().splitlines()
    assert "100 updates, 20 done before; 1,234 parameters, 5 G multiply-adds" in first
    assert "update 90: noise error 0.9 at 0.03, 0.01 at 30" in last
    assert "DDGM" not in last
