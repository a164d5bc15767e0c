"""Scores of volumes, from a run on a local cluster to the columns of its metrics.parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import from_numpy
from torchmetrics.image import StructuralSimilarityIndexMeasure

from ddgm.pipeline.run.runner import run
from ddgm.pipeline.spec.model import Spec
from tests.pipeline.runs import OFFSET, layer, phantom_volume, run_ddgm, spec_data

SLICES = 24  # of each of two blocks; with a halo of 16, tiles of 32 begin at 0 and 8

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Path:
    """A finished run, whose layers hold what was scored, but for its unit."""
    folder = tmp_path_factory.mktemp("scores")
    url = phantom_volume(folder, (40, 32, 2 * SLICES), chunk=(40, 32, 24))
    block = {"slices": SLICES, "halo": 16}
    data = spec_data(url, folder / "run", tiny_prior, slab={"thickness": 40}, block=block)
    data["output"]["dtype"] = "float32"
    data["method"] = {"name": "ddx", "steps": 2, "planes": "alternate"}
    result = run(Spec.model_validate(data), lambda event: None)
    assert result.done == 2
    return folder / "run"


@pytest.fixture(scope="module")
def table(out: Path) -> dict[str, np.ndarray]:
    """The columns, in order of slices."""
    columns = pq.read_table(out / "metrics.parquet").sort_by("slice")
    return {name: columns[name].to_numpy() for name in columns.column_names}


def blocks(out: Path, name: str) -> list[np.ndarray]:
    """Both blocks of a layer, (slice, thickness, width), in the units of `tiny_prior`."""
    return np.split((np.moveaxis(layer(out, name), 2, 0) - 128) / 34, 2)


def steps(stack: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(stack, axis=0)).mean(axis=(1, 2))


@pytest.mark.parametrize("name", ["", "algebraic_"])
def test_the_step_to_the_next_slice_is_a_column(
    out: Path, table: dict[str, np.ndarray], name: str
) -> None:
    assert table["slice"].tolist() == list(range(OFFSET[2], OFFSET[2] + 2 * SLICES))
    own = "algebraic" if name else "reconstruction"
    stacks = zip(blocks(out, own), blocks(out, "truth"), strict=True)
    wanted = [np.append(steps(x) / steps(truth).mean(), np.nan) for x, truth in stacks]
    np.testing.assert_allclose(table[f"{name}neighbours"], np.concatenate(wanted), rtol=1e-4)


@pytest.mark.parametrize(("plane", "axis"), [("across", 1), ("along", 2)])
def test_ssim_of_the_planes_across_slices_is_a_column(
    out: Path, table: dict[str, np.ndarray], plane: str, axis: int
) -> None:
    found = table[f"ssim_{plane}"].reshape(2, SLICES).mean(axis=1)
    for k, pair in enumerate(zip(blocks(out, "reconstruction"), blocks(out, "truth"), strict=True)):
        images = [
            [from_numpy(v.take(place, axis).copy())[None, None] for v in pair]
            for place in range(4, pair[0].shape[axis], 8)
        ]
        alone = [StructuralSimilarityIndexMeasure()(*pair).item() for pair in images]
        assert found[k] == pytest.approx(np.mean(alone), abs=1e-4)


def test_seams_along_thickness_and_tilt_axis_are_columns(
    out: Path, table: dict[str, np.ndarray]
) -> None:
    assert "seam" not in table  # one tile is as wide as the slices
    assert np.isfinite(table["seam_thickness"]).all()
    # of the first block tiles end at 32, and begin at 0 and 8; the second has 16 slices before it
    borders = np.flatnonzero(np.isfinite(table["seam_tilt"]))
    assert borders.tolist() == [7, SLICES + 32 - 16 - 1]
    x, truth = (blocks(out, name)[0] for name in ("reconstruction", "truth"))
    jumps = [steps(v)[7] / np.delete(steps(v), 7).mean() for v in (x, truth)]
    assert table["seam_tilt"][7] == pytest.approx(jumps[0] / jumps[1], rel=1e-4)


def test_status_says_how_rough_the_volume_is(
    out: Path, table: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown, _ = run_ddgm(capsys, "status", out)
    assert status == 0
    step = np.nanmean(table["neighbours"])
    assert f"step to the next slice {step:.3f} of the truth's" in " ".join(shown.split())
