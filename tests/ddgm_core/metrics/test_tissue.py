"""The statistics of tissue beside a prior: measured, kept, and missed where there are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ddgm.core.errors import DdgmError
from ddgm.core.metrics.tissue import load_tissue, measure_tissue, save_tissue, tissue_path
from ddgm.core.networks.prior import read_card, weights_path

FIB25 = Path(__file__).parents[3] / "fib25/train_a.npy"


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    x = 3 * np.random.default_rng(0).standard_normal((64, 64, 128))
    tissue = measure_tissue([x], 16.0, "noise")
    assert tissue.volume_power(np.array([0.1, 0.3, 0.6])) == pytest.approx(9, rel=0.1)
    assert tissue.slice_power(np.array([0.1, 0.3, 0.6])) == pytest.approx(9, rel=0.2)
    assert tissue.skewness == pytest.approx(0, abs=0.05)


def test_skewness_has_the_sign_of_the_longer_tail() -> None:
    x = np.random.default_rng(0).exponential(size=(64, 64, 64))
    assert measure_tissue([x], 16.0, "noise").skewness == pytest.approx(2, rel=0.1)
    assert measure_tissue([-x], 16.0, "noise").skewness == pytest.approx(-2, rel=0.1)


def test_shipped_priors_have_what_was_measured_on_their_tissue() -> None:
    tissue, card = load_tissue("small"), read_card("small")
    assert tissue.voxel_size_nm == card.voxel_size_nm
    assert load_tissue("full") == load_tissue("quick") == tissue
    if not FIB25.is_file():
        pytest.skip("no fib25 beside the checkout")
    corner = np.load(FIB25, mmap_mode="r", allow_pickle=False)[:128, :128, :128]
    found = measure_tissue([card.intensity.normalised(corner)], 16.0, "fib25/train_a.npy")
    at = np.array([0.1, 0.15, 0.2])
    assert found.volume_power(at) == pytest.approx(tissue.volume_power(at), rel=0.3)
    assert found.slice_power(at) == pytest.approx(tissue.slice_power(at), rel=0.3)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    weights = tmp_path / "prior.safetensors"
    shutil.copy(weights_path("small"), weights)
    with pytest.raises(DdgmError, match="no statistics of its tissue"):
        load_tissue(str(weights))
    save_tissue(weights, load_tissue("small"))
    assert load_tissue(str(weights)) == load_tissue("small")
    kept = tissue_path(weights).read_text()
    for wrong in ("", "[1]", kept.replace("slices", "slice"), kept.replace("16.0", '"a"')):
        tissue_path(weights).write_text(wrong)
        with pytest.raises(DdgmError, match="restore it"):
            load_tissue(str(weights))


def test_volumes_without_a_whole_cube_say_so() -> None:
    with pytest.raises(DdgmError, match="no volume holds a cube of 64"):
        measure_tissue([np.zeros((64, 64, 63))], 16.0, "little")
