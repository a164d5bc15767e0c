"""`ddgm evaluate --halves`: resolution of runs, simulated and measured, without their truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ddgm.core.metrics.fourier import resolutions
from ddgm.core.simulation.noise import NoiseField
from ddgm.pipeline.evaluation.halves import evaluate_halves
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.runs import phantom_volume, run_ddgm, spec_data

pytestmark = pytest.mark.long

SHAPE = 32, 40, 64  # z, y, x of the source


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> str:
    """A run of gradient descent, of which one block is done: halves need none of its voxels."""
    folder = tmp_path_factory.mktemp("halves")
    url = phantom_volume(folder / "em", SHAPE, chunk=SHAPE, offset=(0, 0, 0))
    data = spec_data(url, folder / "run", tiny_prior, slab={"thickness": 32})
    data["block"] = {"slices": 8, "batch": 8}
    data["method"] = {"name": "gradient_descent", "gradient_steps": 30}
    data["source"]["box"] = {"z": [0, 32], "y": [0, 40], "x": [0, 64]}
    data["tilts"] = {"count": 31, "noise": 1.0}
    spec = Spec.model_validate(data)
    assert run_alone(spec, 0).state == "done"
    return spec.output.path


def test_halves_agree_down_to_a_wave_length(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run_ddgm(capsys, "evaluate", root, "--halves", "--slices", 16)
    assert (status, err) == (0, "")
    kept = json.loads((Path(root) / "halves.json").read_text())
    assert kept["slices"] == 16
    assert sorted(kept["views"]) == [15, 16]
    for name in ("method", "algebraic"):
        along = kept[name]["resolution_width"], kept[name]["resolution_thickness"]
        assert 32 <= along[0] < along[1], "two pixels of 16 nm, and the missing wedge"
        assert f"| {name} | {along[0]:.4g} | {along[1]:.4g} |" in out
    RunStore(root).manifest()  # the folder is still a run's


def test_more_noise_coarser_agreement(root: str, tmp_path: Path) -> None:
    spec = Spec.model_validate(RunStore(root).manifest()["spec"])
    before = evaluate_halves(root, 8)
    noisy = spec.model_copy(
        update={
            "tilts": spec.tilts.model_copy(update={"noise": 15.0}),
            "output": spec.output.model_copy(update={"path": str(tmp_path / "run")}),
        }
    )
    run_alone(noisy, 0)
    found = evaluate_halves(str(tmp_path / "run"), 8)
    for axis in ("resolution_width", "resolution_thickness"):
        assert found.method[axis] > 1.2 * before.method[axis]


def test_noise_alone_agrees_nowhere() -> None:
    one, two = (
        torch.stack(
            [
                torch.from_numpy(NoiseField(s, "sampler").slice((64, 64), (0, 0, i)))
                for i in range(16)
            ]
        )
        for s in (0, 1)
    )
    found = resolutions(one, two, 1.0, threshold=0.143)
    assert min(float(v) for v in found.values()) > 30
    same = resolutions(one, one, 1.0, threshold=0.143)
    assert all(float(v) == pytest.approx(2, abs=0.1) for v in same.values())
    assert np.isfinite(list(map(float, found.values()))).all()


def test_what_cannot_be_halved_is_one_line(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run_ddgm(capsys, "evaluate", root)
    assert (status, err.count("\n")) == (1, 1)
    assert "--labels URL, --halves or both" in err
    spec = Spec.model_validate(RunStore(root).manifest()["spec"])
    few = spec.tilts.model_copy(update={"count": 3})
    path = {"output": spec.output.model_copy(update={"path": str(tmp_path / "few")})}
    run_alone(spec.model_copy(update={"tilts": few} | path), 0)
    status, _, err = run_ddgm(capsys, "evaluate", tmp_path / "few", "--halves")
    assert (status, err.count("\n")) == (1, 1)
    assert "3 views leave too few" in err
    status, _, err = run_ddgm(capsys, "evaluate", tmp_path, "--halves")
    assert (status, err.count("\n")) == (1, 1)
    assert "no run.json" in err
