"""Blocks of every kind of source: the truth is its voxels, and lies where they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.runs import layer, spec_data
from tests.pipeline.sample_volumes import write_volume
from tests.pipeline.volumes.ome_images import write_ome

SHAPE = (16, 40, 4)
INTENSITY = {"mean": 128.0, "std": 30.0}
PARTS: dict[str, dict[str, Any]] = {
    "slab": {"thickness": 16},
    "tilts": {"count": 6},
    "method": {"name": "gradient_descent", "gradient_steps": 2},
}


def grey(dtype: str) -> np.ndarray:
    return np.random.default_rng(0).normal(128, 30, SHAPE).clip(1, 255).astype(dtype)


def run_all(
    url: str, output: Path, prior: Path, dtype: str = "float32", **source: Any
) -> np.ndarray:
    """Run the one block of a spec, and return its truth."""
    data = spec_data(url, output, prior, source=source) | PARTS
    data["output"] |= {"layers": ["reconstruction", "truth"], "dtype": dtype}
    run_block(prepare(Spec.model_validate(data)), 0)
    return layer(output, "truth")


def steps(image: Path) -> tuple[list[float], list[float]]:
    """Scale and translation of an OME-Zarr image."""
    metadata = json.loads((image / "zarr.json").read_text())
    (dataset,) = metadata["attributes"]["ome"]["multiscales"][0]["datasets"]
    scale, shift = dataset["coordinateTransformations"]
    return scale["scale"], shift["translation"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_the_truth_is_exact_for_every_dtype(tmp_path: Path, tiny_prior: Path, dtype: str) -> None:
    data = grey(dtype) if dtype != "float32" else grey(dtype) * np.float32(1 / 3)
    url = write_volume(tmp_path / "em", data)
    truth = run_all(url, tmp_path / "run", tiny_prior, intensity=INTENSITY)
    assert truth.dtype == np.float32
    np.testing.assert_array_equal(truth, data)


def test_layers_of_a_precomputed_volume_begin_half_a_voxel_in(
    tmp_path: Path, tiny_prior: Path
) -> None:
    url = write_volume(tmp_path / "em", grey("uint8"), voxel_size_nm=(16, 16, 16))
    run_all(url, tmp_path / "run", tiny_prior, "uint8")
    found = steps(tmp_path / "run/volume.zarr/truth")
    assert found == ([16.0] * 3, [8.0, 8.0, 8.0])


@pytest.mark.parametrize("version", [2, 3])
def test_layers_of_an_ome_zarr_image_lie_on_it(
    tmp_path: Path, tiny_prior: Path, version: int
) -> None:
    data = grey("uint8")
    place = [640.0, -3.3, 0.0]
    image = write_ome(
        tmp_path / "em.zarr", data, version=version, scale=[16.0, 9.8, 16.0], translation=place
    )
    url = f"zarr{version}://file://{image}"
    box = {"z": [0, 16], "y": [0, 40], "x": [1, 4]}
    truth = run_all(url, tmp_path / "run", tiny_prior, "uint8", box=box)
    np.testing.assert_array_equal(truth, data[:, :, 1:])
    scale, first = steps(tmp_path / "run/volume.zarr/truth")
    assert scale == [16.0, 9.8, 16.0]
    assert first == [640.0, -3.3, 16.0]


def test_what_ddgm_wrote_is_a_source(tmp_path: Path, tiny_prior: Path) -> None:
    url = write_volume(tmp_path / "em", grey("uint8"), offset=(3, 0, 7))
    first = run_all(url, tmp_path / "run", tiny_prior, "uint8")
    image = tmp_path / "run/volume.zarr/truth"
    again = run_all(str(image), tmp_path / "again", tiny_prior, "uint8")
    np.testing.assert_array_equal(again, first)
    assert steps(tmp_path / "again/volume.zarr/truth") == steps(image)
    assert open_volume(str(image)).info.voxel_size_nm == open_volume(url).info.voxel_size_nm


def test_voxels_that_are_no_numbers_are_the_sources_fault_or_replaced(
    tmp_path: Path, tiny_prior: Path
) -> None:
    data = grey("float32")
    data[:3] = np.nan
    url = write_volume(tmp_path / "em", data)
    with pytest.raises(SourceError, match=r"480 of 2560 voxels .* z 0, y 0, x 0.*source\.invalid"):
        run_all(url, tmp_path / "run", tiny_prior, intensity=INTENSITY)
    truth = run_all(url, tmp_path / "other", tiny_prior, intensity=INTENSITY, invalid=128)
    data[:3] = 128
    np.testing.assert_array_equal(truth, data)
