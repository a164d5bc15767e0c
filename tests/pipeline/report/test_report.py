import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddgm.core.networks.prior import PriorCard, save_prior
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.figures import Panel
from ddgm.pipeline.report import slices
from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore, StoreError
from ddgm.pipeline.volumes.ingest import ingest
from tests.pipeline.pages import Page, decoded

WIDTH, THICKNESS, FIRST = 140, 32, 7
ALL = ("reconstruction", "truth", "algebraic", "sinogram")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a volume, a prior, and in `run` a run of it: two blocks of four slices."""
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDGM_CACHE", str(root / "cache"))
        np.save(root / "volume.npy", neuropil((THICKNESS, WIDTH, 8), 1))
        at = f"precomputed://file://{root}/volume"
        ingest(root / "volume.npy", at, (16.0, 16.0, 16.0), chunk=32, offset=(0, 0, FIRST))
        torch.manual_seed(0)
        card = PriorCard(Architecture(width=8), 130, 33, 16, training={"licence": "CC-BY <i>4</i>"})
        save_prior(root / "prior.safetensors", UNet(card.architecture), card)
        make(root, "run")
        yield root


def make(
    root: Path,
    name: str,
    layers: tuple[str, ...] = ALL,
    blocks: int = 2,
    volume: str = "volume",
    slab: dict[str, str] | None = None,
    **tilts: Any,
) -> str:
    """The folder of a run of the first blocks of a volume."""
    spec = {
        "source": {"url": f"precomputed://file://{root}/{volume}"},
        "output": {"path": str(root / name), "layers": layers},
        "slab": {"thickness": THICKNESS, **(slab or {})},
        "prior": {"weights": str(root / "prior.safetensors")},
        "method": {"name": "ddgm", "steps": 2, "gradient_steps": 2},
        "algebraic": {"gradient_steps": 5},
        "block": {"slices": 4, "batch": 4},
        "tilts": {"count": 24, **tilts},
    }
    for block in range(blocks):
        run_alone(Spec.model_validate(spec), block)
    return str(root / name)


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> str:
    """A copy of the finished run, to spoil."""
    return shutil.copytree(runs / "run", tmp_path / "run").as_posix()


def page(root: str) -> Page:
    write_report(root)
    return Page((Path(root) / "report.html").read_text())


def ledger(root: str) -> list[dict[str, Any]]:
    """Straight from the files, past the code that the report uses."""
    return [json.loads(p.read_text()) for p in sorted(Path(root).glob("ledger/*/*.json"))]


def change_metrics(root: str, metric: str, values: list[float]) -> None:
    """Puts other values of a metric into the ledger, slice by slice."""
    left = iter(values)
    for record in list(RunStore(root).records()):
        rows = [{**row, metric: next(left)} for row in record.metrics]
        RunStore(root).put(replace(record, metrics=rows))


def change_manifest(root: str, change: Any) -> None:
    manifest = RunStore(root).manifest()
    change(manifest)
    (Path(root) / "run.json").write_text(json.dumps(manifest))


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+\.\d+", text)]


@pytest.mark.parametrize("metric", ["mse", "ssim", "residual"])
def test_table_has_the_ledgers_means_and_standard_errors(run: str, metric: str) -> None:
    name = {"mse": "MSE", "ssim": "SSIM", "residual": "Data residual"}[metric]
    rows = [row for record in ledger(run) for row in record["metrics"]]
    assert len(rows) == 8
    _, ours, algebraic, ratio = page(run).row(name)
    means = []
    for cell, key in ((ours, metric), (algebraic, f"algebraic_{metric}")):
        values = [row[key] for row in rows]
        mean = sum(values) / 8
        error = (sum((v - mean) ** 2 for v in values) / 7 / 8) ** 0.5
        assert numbers(cell) == pytest.approx([mean, error], abs=5.1e-5)
        means.append(mean)
    assert float(ratio) == pytest.approx(means[0] / means[1], abs=5.1e-4)


def test_headline_says_which_method_is_better(run: str) -> None:
    change_metrics(run, "algebraic_mse", [0.2] * 8)
    change_metrics(run, "mse", [0.1] * 8)
    assert "is better than the algebraic reconstruction: 0.1000" in page(run).text
    change_metrics(run, "mse", [0.3] * 8)
    assert "is no better than the algebraic" in page(run).text


def test_page_is_self_contained_and_names_what_it_wrote(run: str) -> None:
    before = set(Path(run).rglob("*"))
    assert write_report(run) == ["report.html", "preview.png"]
    assert {p.name for p in set(Path(run).rglob("*")) - before} == {"report.html", "preview.png"}
    shown = Page((Path(run) / "report.html").read_text())
    assert shown.links
    assert all(link.startswith("data:image/png;base64,") for link in shown.links)
    assert not {"script", "link", "iframe", "object"} & set(shown.tags)
    assert "url(" not in shown.html
    assert "@import" not in shown.html
    assert "invent structures" in shown.text


def test_preview_is_the_first_figure_and_holds_the_pictures(run: str) -> None:
    first = page(run).images[0]
    preview = decoded((Path(run) / "preview.png").read_bytes())
    np.testing.assert_array_equal(first, preview)
    height, width = preview.shape[:2]
    # four panels as high as a slice, one as wide as the detector, in whole dots to a pixel
    bins = RunStore(run).manifest()["geometry"]["bins"]
    assert bins > WIDTH
    assert 4 * bins < width < 4 * bins + 120
    assert 4 * 4 * THICKNESS < height < 4 * (4 * THICKNESS + 30) + 60


def test_median_slice_is_shown_with_its_own_pixels_and_scores(run: str) -> None:
    change_metrics(run, "mse", [0.5, 0.1, 0.7, 0.2, 0.3, 0.9, 0.8, 0.6])  # the 4th least: 0.5
    text = page(run).text
    assert f"median MSE, slice x = {FIRST}; all" in text
    assert f"best slice by MSE, slice x = {FIRST + 1}." in text
    assert f"worst slice by MSE, slice x = {FIRST + 5}." in text


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[Panel]]:
    """The panels of each stack of pictures that is drawn, as they come."""
    seen: list[list[Panel]] = []
    stack = slices.stack

    def spy(panels: list[Panel], *args: Any) -> bytes:
        seen.append(panels)
        return stack(panels, *args)

    monkeypatch.setattr(slices, "stack", spy)
    return seen


@pytest.mark.parametrize("index", [0, 5])
def test_pictures_are_the_stored_slices(run: str, index: int, drawn: list[list[Panel]]) -> None:
    order = [0.5 + i for i in range(8)]
    order[index], order[3] = order[3], order[index]  # so that this slice has the median MSE
    change_metrics(run, "mse", order)
    write_report(run)
    arrays = {layer: np.asarray(RunStore(run).array(layer)[:]) for layer in ALL}
    sinogram, ours, algebraic, truth = drawn[0]
    np.testing.assert_array_equal(sinogram.image, arrays["sinogram"][0, index])
    for panel, layer in ((ours, ALL[0]), (algebraic, ALL[2]), (truth, ALL[1])):
        np.testing.assert_array_equal(panel.image, arrays[layer][:, :, index])
        assert panel.window == truth.window
    assert ours.title.startswith("DDGM: MSE 3.5000")
    difference = np.abs(arrays["reconstruction"].astype(int) - arrays["truth"])[:, :, index]
    (off,) = [p for panels in drawn for p in panels if p.title == "|DDGM − truth|"]
    np.testing.assert_array_equal(off.image, difference)


def test_slices_lie_along_whichever_axis_is_tilted_about(
    runs: Path, drawn: list[list[Panel]]
) -> None:
    data = np.random.default_rng(0).integers(1, 255, (4, 2 * THICKNESS, 40), np.uint8)
    np.save(runs / "upright.npy", data)
    ingest(runs / "upright.npy", f"precomputed://file://{runs}/upright", (16.0, 16.0, 16.0))
    slab = {"tilt_axis": "z", "thickness_axis": "y", "width_axis": "x"}
    root = make(runs, "upright-run", volume="upright", slab=slab)
    change_metrics(root, "mse", [7, 8, 9, 9, 1, 3, 2, 5])  # the 4th least: the second slab's last
    assert "slice z = 3, slab 1" in page(root).text
    sinogram, _, _, truth = drawn[0]
    # truth comes back through the prior's units, which may cost a rounding
    np.testing.assert_allclose(truth.image, data[3, THICKNESS:], atol=1)
    stored = np.asarray(RunStore(root).array("sinogram")[1, 3])
    np.testing.assert_array_equal(sinogram.image, stored)


def test_layers_that_were_not_written_are_left_out(runs: Path, run: str) -> None:
    root = make(runs, "bare", layers=("reconstruction",), blocks=1)
    shown = page(root)
    assert "Algebraic" not in shown.text
    assert "algebraic reconstruction" not in shown.text
    assert "dashed lines" not in shown.text
    assert shown.row("MSE")[2:] == [""]
    height, width = shown.images[0].shape[:2]
    assert width > 4 * WIDTH
    assert height < 2 * 4 * THICKNESS  # one panel
    full = page(run)
    assert len(shown.images) == len(full.images) - 1  # no difference to a truth
    assert "dashed lines" in full.text


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_shard_costs_its_layer_only(run: str, damage: str) -> None:
    whole = page(run).images[0]
    for shard in Path(run).glob("volume.zarr/algebraic/0/c/**/*"):
        if shard.is_file() and damage == "missing":
            shard.unlink()
        elif shard.is_file():
            shard.write_bytes(shard.read_bytes()[:200])
    shown = page(run)
    assert "The layer algebraic " in shown.text
    assert shown.images[0].shape[0] == pytest.approx(whole.shape[0] - 4 * THICKNESS - 26, abs=2)


def test_no_picture_is_left_of_an_earlier_report(run: str) -> None:
    write_report(run)
    for layer in ALL[:3]:
        shutil.rmtree(Path(run) / "volume.zarr" / layer / "0" / "c")
    assert write_report(run) == ["report.html"]
    assert not (Path(run) / "preview.png").exists()


def test_failed_blocks_are_listed_with_cause_and_command(run: str) -> None:
    digest = RunStore(run).manifest()["digest"]
    RunStore(run).put(Record(1, digest, "failed", 3, cause="SourceError: <b>gone</b> & lost"))
    shown = page(run)
    assert ["1", "3", "SourceError: <b>gone</b> & lost", "ddgm block SPEC --id 1"] in shown.rows
    assert "4 of 8 slices" in shown.text
    assert "1 block done, 1 failed" in shown.text
    assert "not complete: of 2 blocks 1 failed and 0 have not been run" in shown.text


def test_many_failures_are_cut_short(run: str) -> None:
    digest = RunStore(run).manifest()["digest"]
    for block in range(1, 61):
        RunStore(run).put(Record(block, digest, "failed", 1, cause="x"))
    shown = page(run)
    assert sum("--id" in row[-1] for row in shown.rows if row) == 50
    assert "And 10 more" in shown.text


def test_unfinished_run_says_so_and_a_finished_one_does_not(run: str) -> None:
    assert "not complete" not in page(run).text
    (Path(run) / "ledger/000/000000.json").unlink()
    shown = page(run)
    assert "not complete: of 2 blocks 0 failed and 1 have not been run" in shown.text
    values = [row["mse"] for row in ledger(run)[0]["metrics"]]
    assert numbers(shown.row("MSE")[1])[0] == pytest.approx(sum(values) / 4, abs=5.1e-5)


def test_records_of_another_digest_count_for_nothing(run: str) -> None:
    RunStore(run).put(replace(next(RunStore(run).records()), digest="other"))
    assert "4 of 8 slices" in page(run).text


def test_nothing_done_is_an_error_that_says_why(run: str, tmp_path: Path) -> None:
    digest = RunStore(run).manifest()["digest"]
    shutil.rmtree(Path(run) / "ledger")
    with pytest.raises(StoreError, match="no block is done yet"):
        write_report(run)
    RunStore(run).put(Record(0, digest, "failed", cause="SourceError: gone"))
    with pytest.raises(StoreError, match=r"1 failed.*SourceError: gone"):
        write_report(run)
    assert not (Path(run) / "report.html").exists()
    with pytest.raises(StoreError, match=r"no run\.json"):
        write_report(str(tmp_path / "elsewhere"))


def test_all_data_is_escaped(run: str) -> None:
    plain = page(run)

    def change(manifest: dict[str, Any]) -> None:
        manifest["spec"]["source"]["url"] = "precomputed://file:///a<b>&\"'/v"
        manifest["spec"]["output"]["path"] = "/runs/<script>alert(1)</script>"
        manifest["weights"]["card"]["training"]["<img src=x>"] = "<img src=x>"
        manifest["versions"]["torch"] = "<table>"

    change_manifest(run, change)
    shown = page(run)
    assert "precomputed://file:///a<b>&\"'/v" in shown.text
    assert "<script>alert(1)</script>" in shown.text
    assert shown.row("Prior, <img src=x>")[1] == "<img src=x>"
    assert shown.row("Prior, licence")[1] == "CC-BY <i>4</i>"
    assert set(shown.tags) == set(plain.tags)
    assert len(shown.images) == len(plain.images)


def test_provenance_and_doubts_about_the_data(run: str) -> None:
    manifest, store = RunStore(run).manifest(), RunStore(run)
    store.put(replace(next(store.records()), missing_voxels=77))

    def change(manifest: dict[str, Any]) -> None:
        manifest["spec"]["source"]["missing"] = 3
        manifest["weights"]["card"]["voxel_size_nm"] = 8.0

    assert "trained at" not in page(run).text
    change_manifest(run, change)
    shown = page(run)
    assert shown.row("Digest of spec")[1] == manifest["digest"]
    assert shown.row("Weights")[1] == manifest["weights"]["sha256"]
    assert f"torch {manifest['versions']['torch']}" in shown.row("Versions")[1]
    assert f"{run}/volume.zarr/truth/0" in shown.row("truth")
    assert "77 source voxels were missing and filled with grey level 3." in shown.text
    assert "trained at 8 nm; to it, tissue looks different at 16 × 16 nm" in shown.text
    assert "gradient_steps: 2" in shown.text  # the spec


def test_timings_are_of_the_blocks_that_ran(run: str) -> None:
    for record, worker in zip(list(RunStore(run).records()), "ab", strict=True):
        seconds = {"fetch": 1.0, "reconstruct": 3.0}
        RunStore(run).put(replace(record, seconds=seconds, worker=worker, attempts=2))
    text = page(run).text
    assert "1 slices per second and worker process; 2 with all 2 at work" in text
    assert "2 blocks needed more than one attempt" in text


def test_views_without_noise_have_no_residual_in_units_of_it(runs: Path) -> None:
    shown = page(make(runs, "noiseless", blocks=1, noise=0, detector="perpendicular"))
    assert shown.row("Mean square residual")
    assert "no noise" in shown.text
    assert "dashed lines" not in shown.text  # the detector is as wide as the slice


def test_scores_that_are_not_numbers_do_not_hide_the_others(run: str) -> None:
    change_metrics(run, "ssim", [float("nan")] * 4 + [0.25] * 4)
    assert numbers(page(run).row("SSIM")[1]) == [0.25, 0.0]
