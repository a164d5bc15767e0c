"""Every spec that is shipped can be planned as it is, but for where its voxels lie."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from tests.pipeline.runs import run_ddgm
from tests.pipeline.sample_volumes import write_volume

SPECS = {path.name: path for path in files("ddgm.deploy.specs").iterdir()}
RUNS = sorted(name for name in SPECS if name.endswith(".yaml") and not name.startswith("train-"))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, str]:
    """A slab of cubes as wide as the paper's, and one of sections, by whether it is resampled."""
    folder = tmp_path_factory.mktemp("volumes")
    cubes, sections = np.zeros((128, 1568, 96), np.uint8), np.zeros((52, 1024, 128), np.uint8)
    chunk = 64, 512, 96
    return {
        False: write_volume(folder / "cubes", cubes, chunk=chunk, voxel_size_nm=(16, 16, 16)),
        True: write_volume(folder / "sections", sections, chunk=chunk, voxel_size_nm=(40, 4, 4)),
    }


@pytest.mark.parametrize("name", RUNS)
def test_it_is_planned_and_fits_its_workers(
    name: str, volumes: dict[bool, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = YAML(typ="safe").load(SPECS[name].read_text("utf-8"))
    resampled = "resample" in data["source"]
    kept = {"resample": data["source"]["resample"]} if resampled else {}
    data["source"] = {"url": volumes[resampled], **kept}
    data["output"]["path"] = str(tmp_path / "run")
    if name == "hemibrain.yaml":
        data["slab"].pop("width")
    (tmp_path / "spec.yaml").write_text(json.dumps(data))  # which is YAML
    status, out, error = run_ddgm(
        capsys, "plan", tmp_path / "spec.yaml", "--json", "--no-calibrate"
    )
    assert (status, error) == (0, "")
    facts = json.loads(out)
    local = data["cluster"]["kind"] == "local"  # SLURM's workers are looked at as they are sent
    assert facts.get("fits") is (True if local else None)
    assert facts["slices"] == (32 if resampled else 96)
