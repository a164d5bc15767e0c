"""The pictures of a report are the stored slices."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.figures import Panel
from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.ingest import ingest
from tests.pipeline.pages import Page, decoded
from tests.pipeline.report.reported import ALL, FIRST, THICKNESS, WIDTH, change_metrics, make, page

pytestmark = pytest.mark.long


def test_the_preview_holds_the_tilt_series_and_the_layers(run: str) -> None:
    write_report(run)
    height, width = decoded((Path(run) / "preview.png").read_bytes()).shape[:2]
    # four panels as high as a slice, one as wide as the detector, in whole dots to a pixel
    bins = RunStore(run).manifest()["geometry"]["bins"]
    assert bins > WIDTH
    assert 4 * bins < width < 4 * bins + 120
    assert 4 * 4 * THICKNESS < height < 4 * (4 * THICKNESS + 30) + 60


def test_median_slice_is_shown_with_its_own_pixels_and_scores(run: str) -> None:
    change_metrics(run, "mse", [0.5, 0.1, 0.7, 0.2, 0.3, 0.9, 0.8, 0.6])  # the 4th least: 0.5
    text = page(run).text
    assert f"median MSE, slice x = {FIRST}; all" in text
    assert f"slice of best MSE, slice x = {FIRST + 1}; all" in text
    assert f"slice of worst MSE, slice x = {FIRST + 5}; all" in text


@pytest.mark.parametrize("index", [0, 5])
def test_pictures_are_the_stored_slices(run: str, index: int, drawn: list[Panel]) -> None:
    order = [0.5 + i for i in range(8)]
    order[index], order[3] = order[3], order[index]  # so that this slice has the median MSE
    change_metrics(run, "mse", order)
    shown = page(run)
    arrays = {layer: np.asarray(RunStore(run).arrays.array(layer)[:]) for layer in ALL}
    sinogram, ours, algebraic, truth = drawn[:4]
    np.testing.assert_array_equal(sinogram.image, arrays["sinogram"][0, index])
    for panel, layer in ((ours, ALL[0]), (algebraic, ALL[2]), (truth, ALL[1])):
        np.testing.assert_array_equal(panel.image, arrays[layer][:, :, index])
        assert panel.window == truth.window
    assert ours.title.startswith("DDGM: MSE 3.5000")
    difference = np.abs(arrays["reconstruction"].astype(int) - arrays["truth"])[:, :, index]
    (off,) = [p for p in drawn if p.title == "|DDGM − truth|"]
    np.testing.assert_array_equal(off.image, difference)
    low, high = truth.window
    grey = np.clip((truth.image - low) / (high - low), 0, 1)
    assert np.abs(shown.images[4][..., 0] - grey).max() < 0.003  # after that of the tilt series


def test_slices_lie_along_whichever_axis_is_tilted_about(runs: Path, drawn: list[Panel]) -> None:
    data = np.random.default_rng(0).integers(1, 255, (4, 2 * THICKNESS, 40), np.uint8)
    np.save(runs / "upright.npy", data)
    ingest(runs / "upright.npy", f"precomputed://file://{runs}/upright", (16.0, 16.0, 16.0))
    slab = {"tilt_axis": "z", "thickness_axis": "y", "width_axis": "x"}
    root = make(runs, "upright-run", volume="upright", slab=slab)
    change_metrics(root, "mse", [7, 8, 9, 9, 1, 3, 2, 5])  # the 4th least: the second slab's last
    assert "slice z = 3, slab 1" in page(root).text
    sinogram, _, _, truth = drawn[:4]
    # truth comes back through the prior's units, which may cost a rounding
    np.testing.assert_allclose(truth.image, data[3, THICKNESS:], atol=1)
    stored = np.asarray(RunStore(root).arrays.array("sinogram")[1, 3])
    np.testing.assert_array_equal(sinogram.image, stored)


def test_both_sides_of_pixels_that_are_not_square_are_told_and_drawn(
    runs: Path, drawn: list[Panel]
) -> None:
    np.save(runs / "deep.npy", neuropil((THICKNESS, 48, 8), 1))
    ingest(runs / "deep.npy", f"precomputed://file://{runs}/deep", (40.0, 4.0, 4.0))
    shown = page(make(runs, "deep-run", blocks=1, volume="deep", prior={"any_voxel_size": True}))
    assert "pixels of 40 × 4 nm" in shown.text
    assert "trained at 16 nm; to it, tissue looks different at 40 × 4 nm" in shown.text
    rows = [[" ".join(cell.split()) for cell in row] for row in shown.rows]
    assert ["Pixel", "40 × 4 nm (along the thickness, across)"] in rows
    ours = drawn[1].image.shape
    assert ours == (THICKNESS, 48)
    assert f"aspect-ratio: {48 * 4 / (THICKNESS * 40)}" in shown.html


def test_layers_that_were_not_written_are_left_out(runs: Path, plain: Page) -> None:
    root = make(runs, "bare", layers=("reconstruction",), blocks=1)
    shown = page(root)
    assert "Algebraic" not in shown.text
    assert "algebraic reconstruction" not in shown.text
    assert "dashed lines" not in shown.text
    assert shown.row("MSE")[2:] == [""]
    assert shown.images[0].shape[:2] == (THICKNESS, WIDTH)
    assert "− truth" not in shown.text
    assert "Tilt series are shown" not in plain.text
    assert "Tilt series are shown where output.layers has sinogram" in shown.text
    assert "dashed lines" in plain.text


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_shard_costs_its_layer_only(run: str, damage: str, plain: Page) -> None:
    for shard in Path(run).glob("volume.zarr/algebraic/0/c/**/*"):
        if shard.is_file() and damage == "missing":
            shard.unlink()
        elif shard.is_file():
            shard.write_bytes(shard.read_bytes()[:200])
    shown = page(run)
    assert "The layer algebraic " in shown.text
    assert "Algebraic: MSE" in plain.text
    assert "Algebraic: MSE" not in shown.text
    assert "Truth" in shown.text


def test_no_picture_is_left_of_an_earlier_report(run: str) -> None:
    write_report(run)
    for layer in ALL[:3]:
        shutil.rmtree(Path(run) / "volume.zarr" / layer / "0" / "c")
    assert write_report(run) == ["report.html"]
    assert not (Path(run) / "preview.png").exists()
