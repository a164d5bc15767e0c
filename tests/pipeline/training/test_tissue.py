"""The statistics of tissue that `ddgm train` writes beside its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddgm.core.intensity import Intensity
from ddgm.core.metrics.tissue import load_tissue
from ddgm.pipeline.training.data import training_volumes
from ddgm.pipeline.training.tissue import training_tissue
from tests.pipeline.sample_volumes import grey
from tests.pipeline.training.specs import ORIGIN, trained, training_spec, volume


@pytest.mark.train
@pytest.mark.usefixtures("no_long_waits")
def test_a_training_writes_what_its_tissue_is_like(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", (64, 64, 64), voxel_size_nm=(8, 8, 8))
    tissue = load_tissue(str(trained(training_spec(url, tmp_path / "out")) / "prior.safetensors"))
    assert (tissue.voxel_size_nm, tissue.measured_on) == (8.0, ORIGIN)
    assert tissue.volume_power(np.array([0.2, 0.4])) == pytest.approx(1, rel=0.1)  # noise


def test_large_volumes_are_seen_in_part(tmp_path: Path) -> None:
    url = volume(tmp_path / "em", (70, 200, 64))
    spec = training_spec(url, tmp_path / "out", {"cache": {"brick": 100}})
    volumes, voxels = training_volumes(spec), grey((70, 200, 64))
    normal = Intensity(mean=float(voxels.mean()), std=float(voxels.std()))
    tissue = training_tissue(volumes, normal, ORIGIN)
    assert tissue is not None
    assert tissue.slice_power(np.array([0.2, 0.4])) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("shape", [(63, 64, 64), (64, 64, 64)])
def test_small_volumes_and_voxels_that_are_no_cubes_have_none(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    size = (8, 8, 8) if min(shape) < 64 else (40, 8, 8)
    url = volume(tmp_path / "em", shape, voxel_size_nm=size)
    volumes = training_volumes(training_spec(url, tmp_path / "out", {"any_voxel_size": True}))
    assert training_tissue(volumes, Intensity(mean=128.0, std=74.0), ORIGIN) is None
