"""`ddgm train` on real volumes: weights that load, whatever the volumes are."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddgm.core.errors import DdgmError
from ddgm.core.networks.prior import PriorError, load_prior
from ddgm.pipeline.training.spec import TrainingSpec
from tests.pipeline.sample_volumes import chunk_file, grey, write_volume
from tests.pipeline.training.results import GIVEN, LEFT
from tests.pipeline.training.specs import ORIGIN, rows, size, trained, training_spec, volume

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("no_long_waits")]


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


def test_a_network_that_sees_neighbours_begins_with_one_that_does_not(
    done: Path, tmp_path: Path
) -> None:
    url, start = volume(tmp_path / "em"), str(done / "prior.safetensors")
    tried = {"validation": {"url": url, "patches": 3, "every": 12, "slices": 2}}
    spec = training_spec(
        url, tmp_path / "out", GIVEN, network={"channels": 3}, start=start, training={"lr": 1e-9}
    )
    folder = trained(TrainingSpec.model_validate(spec.model_dump() | tried))
    prior, before = load_prior(str(folder / "prior.safetensors")), load_prior(start)
    assert prior.card.architecture == replace(before.card.architecture, channels=3)
    assert prior.card.training["start"] == {"weights": start, "sha256": before.digest}
    stem, old = (p.network.state_dict()["stem.weight"] for p in (prior, before))
    assert torch.allclose(stem[:, 1:2], old, atol=1e-6)
    assert torch.allclose(stem[:, ::2], torch.zeros(8, 2, 3, 3), atol=1e-6)
    (scores,) = rows(folder / "validation.csv")
    assert {"mse", "ratio"}.isdisjoint(scores)
    assert (folder / "denoised.png").exists()
    assert not (folder / "samples.png").exists()


@pytest.mark.parametrize(
    ("start", "said"), [("none", "'none' is neither a shipped prior"), ("small", "channels only")]
)
def test_a_start_that_does_not_fit_is_refused(tmp_path: Path, start: str, said: str) -> None:
    spec = training_spec(volume(tmp_path / "em"), tmp_path / "out", GIVEN, start=start)
    with pytest.raises(PriorError, match=f"start: .*{said}"):
        trained(spec)
    assert not (tmp_path / "out").exists()
