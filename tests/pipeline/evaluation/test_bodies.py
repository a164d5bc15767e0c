"""`ddgm evaluate`: a finished run against true labels, and labels that are not its source's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.runs import phantom_volume, run_ddgm, spec_data

pytestmark = pytest.mark.long

SHAPE = 32, 36, 40  # z, y, x of the source


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Slabs of 9 voxels along y."""
    return np.broadcast_to(np.arange(SHAPE[1])[None, :, None] // 9 + 5, SHAPE).copy()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> str:
    """A run of one block."""
    folder = tmp_path_factory.mktemp("evaluated")
    url = phantom_volume(folder / "em", SHAPE, chunk=SHAPE, offset=(0, 0, 0))
    data = spec_data(url, folder / "run", tiny_prior, slab={"thickness": 32})
    data["block"] = {"slices": 40, "batch": 8}
    data["method"] = {"name": "gradient_descent", "gradient_steps": 5}
    data["source"]["box"] = {"z": [0, 32], "y": [0, 36], "x": [0, 40]}
    spec = Spec.model_validate(data)
    assert run_alone(spec, 0).state == "done"
    return spec.output.path


def test_each_image_is_scored_with_the_truth_as_the_ceiling(
    root: str, labels: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez_compressed(tmp_path / "labels.npz", labels=labels)
    status, out, _ = run_ddgm(capsys, "evaluate", root, "--labels", tmp_path / "labels.npz")
    assert status == 0
    kept = json.loads((Path(root) / "evaluation.json").read_text())
    assert list(kept["bodies"]) == ["reconstruction", "algebraic", "truth"]
    for image, scores in kept["bodies"].items():
        assert scores["vi"] == pytest.approx(scores["split"] + scores["merge"])
        assert f"| {image} |" in out
        assert f"{scores['vi']:.3f}" in out
    f1 = kept["boundaries"]["truth"]
    assert 0 <= f1["1"]["all"]["f1"] <= f1["2"]["all"]["f1"] <= 1
    assert set(f1["1"]) == {"all", "0-30", "30-60", "60-90"}
    RunStore(root).manifest()  # the folder is still a run's


def test_the_report_has_the_scores(root: str) -> None:
    kept = json.loads((Path(root) / "evaluation.json").read_text())
    write_report(root)
    page = (Path(root) / "report.html").read_text()
    assert "Membranes and bodies" in page
    assert f"{kept['bodies']['truth']['vi']:.3f}" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a[:, :-1], ["y 0:35", "y 0:36"]),
        (lambda a: a.astype(np.float32), ["float32"]),
    ],
)
def test_labels_of_another_shape_or_type_are_refused(
    root: str,
    labels: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: object,
    words: list[str],
) -> None:
    np.save(tmp_path / "labels.npy", change(labels))  # type: ignore[operator]
    status, _, err = run_ddgm(capsys, "evaluate", root, "--labels", tmp_path / "labels.npy")
    assert status == 1
    assert err.startswith("error: --labels: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words)


def test_a_box_outside_the_run_is_refused(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run_ddgm(
        capsys, "evaluate", root, "--labels", tmp_path / "none.npy", "--box", "0:99,0:9,0:9"
    )
    assert (status, err.startswith("error: --box: z 0:99")) == (1, True)


def test_labels_that_are_not_there_are_named(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run_ddgm(capsys, "evaluate", root, "--labels", tmp_path / "none.npz")
    assert status == 1
    assert "none.npz: there is no such file" in err
