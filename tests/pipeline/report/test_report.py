"""The numbers and words of a report are the run's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.pages import Page
from tests.pipeline.report.reported import (
    change_manifest,
    change_metrics,
    ledger,
    make,
    numbers,
    page,
)

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unpainted")]


@pytest.mark.parametrize("metric", ["mse", "ssim", "residual"])
def test_table_has_the_ledgers_means_and_standard_errors(
    run: str, metric: str, plain: Page
) -> None:
    name = {"mse": "MSE", "ssim": "SSIM", "residual": "Data residual"}[metric]
    rows = [row for record in ledger(run) for row in record["metrics"]]
    assert len(rows) == 8
    _, ours, algebraic, ratio = plain.row(name)
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
    pictures = [link for link in shown.links if not link.startswith("#")]
    assert all(link.startswith("data:image/png;base64,") for link in pictures)
    assert all(f'id="{link[1:]}"' in shown.html for link in set(shown.links) - set(pictures))
    assert not {"script", "link", "iframe", "object"} & set(shown.tags)
    assert "url(" not in shown.html
    assert "@import" not in shown.html
    assert "invent structures" in shown.text


def test_all_data_is_escaped(run: str, plain: Page) -> None:
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


def test_provenance_and_doubts_about_the_data(run: str, plain: Page) -> None:
    manifest, store = RunStore(run).manifest(), RunStore(run)
    store.ledger.put(replace(next(store.ledger.records()), missing_voxels=77))

    def change(manifest: dict[str, Any]) -> None:
        manifest["spec"]["source"]["missing"] = 3
        manifest["weights"]["card"]["voxel_size_nm"] = 8.0

    assert "trained at" not in plain.text
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
    for record, worker in zip(list(RunStore(run).ledger.records()), "ab", strict=True):
        seconds = {"fetch": 1.0, "reconstruct": 3.0}
        RunStore(run).ledger.put(replace(record, seconds=seconds, worker=worker, attempts=2))
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
