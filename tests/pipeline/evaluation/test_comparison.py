"""`ddgm benchmark` and `ddgm tune` measure methods on the same tilts, and keep what they have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from ddgm.core.geometry import Detector, TiltGeometry
from ddgm.core.methods.classical import FilteredBackProjection
from ddgm.core.methods.least_squares import filtered_back_projection
from ddgm.core.methods.method import MethodError
from ddgm.core.metrics import scores as metrics
from ddgm.core.metrics.fourier import resolutions
from ddgm.core.metrics.realism import radial_power, spectrum_distance
from ddgm.core.metrics.uncertainty import measured_part
from ddgm.core.networks.prior import file_digest, load_prior
from ddgm.core.process_work import Work, watched
from ddgm.core.projectors import FourierProjector, MatrixProjector, Spectral
from ddgm.core.projectors.dense import DenseProjector
from ddgm.core.simulation.noise import NoiseField
from ddgm.pipeline.evaluation.comparison_request import (
    BenchmarkError,
    ComparisonRequest,
    ComparisonSettings,
)
from ddgm.pipeline.evaluation.measure import projector_for, solve
from ddgm.pipeline.evaluation.methods import PRESETS, in_spec, label, parse_method, usual
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.volumes.array import opened
from tests.pipeline.runs import phantom_volume, run_ddgm
from tests.workers.shared import Shared


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


def comparison(prior: Path, detector: Detector = "lateral") -> ComparisonSettings:
    digest = load_prior(str(prior)).digest
    return ComparisonSettings(detector, str(prior), digest, "float32", 4.1, 3, 4, "patches")


@pytest.mark.parametrize(
    "name", [n for n in PRESETS if n not in ("dps-1000", "ddgm-150", "diffpir-50")]
)
@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_every_method_solves_every_slice_with_either_detector(
    tiny_prior: Path, tiny_restorer: Path, name: str, detector: Detector
) -> None:
    patches = torch.randn(2, 16, 16)
    settings = replace(comparison(tiny_prior, detector), restorer=str(tiny_restorer))
    settings = replace(settings, restorer_digest=file_digest(tiny_restorer))
    result, images = solve(PRESETS[name], settings, patches)
    assert np.isfinite(images).all()
    assert images.shape == (2, 16, 16)
    assert result.mse == pytest.approx(metrics.mse(torch.from_numpy(images), patches).tolist())
    assert result.seconds > 0


@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_errors_fall_into_two_parts_where_the_singular_values_are_asked_for(
    tiny_prior: Path, detector: Detector
) -> None:
    patches = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    settings = comparison(tiny_prior, detector)
    result, images = solve(PRESETS["cgls"], settings, patches, split=True)
    a = DenseProjector(TiltGeometry.uniform(16, 16, detector=detector))
    if detector == "perpendicular":
        seen = measured_part(a, torch.from_numpy(images) - patches, 4.1)
        assert result.contradicted == pytest.approx(seen.square().mean(dim=(1, 2)).tolist())
        assert not solve(PRESETS["cgls"], settings, patches)[0].invented
    assert len(result.invented) == 2
    assert min(result.contradicted + result.invented) > 0
    power, true = (radial_power(v) for v in (images, patches.numpy()))
    assert result.spectrum == pytest.approx(spectrum_distance(power, true))
    found = resolutions(torch.from_numpy(images), patches, 1.0)
    assert result.resolution_width == pytest.approx(float(found["resolution_width"]))


def test_network_evaluations_are_those_of_the_table(
    tiny_prior: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    network = load_prior(str(tiny_prior)).network
    real = type(network).forward

    def counting(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return real(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(type(network), "forward", counting)
    for name in ("fbp", "ddgm-50", "ddx-20", "ddrm-10", "dps-50"):
        calls.clear()
        solve(PRESETS[name], comparison(tiny_prior), torch.randn(2, 16, 16))
        assert calls == [2] * PRESETS[name].evaluations


def test_all_methods_see_the_same_measurements(tiny_prior: Path) -> None:
    """Back-projection by hand, of the noise that the seed and the slices' numbers give."""
    patches = torch.randn(6, 16, 16)
    _, images = solve(FilteredBackProjection(), comparison(tiny_prior), patches)
    a = FourierProjector(TiltGeometry.uniform(16, 16, detector="lateral"))
    field = NoiseField(3, "sinogram")
    y = a.forward(patches)
    y = y + 4.1 * field.batch(tuple(y.shape[1:]), [(0, 0, i) for i in range(6)])
    assert np.allclose(images, filtered_back_projection(a, y).numpy(), atol=1e-4)


def test_a_method_gets_the_projector_that_it_needs() -> None:
    perpendicular, lateral = (
        TiltGeometry.uniform(16, 16, 9, detector=d) for d in ("perpendicular", "lateral")
    )
    assert type(projector_for(PRESETS["ddgm-50"], perpendicular)) is MatrixProjector
    assert type(projector_for(PRESETS["ddrm-10"], perpendicular)) is DenseProjector
    assert isinstance(projector_for(PRESETS["ddrm-10"], lateral), Spectral)


@pytest.mark.process
def test_a_comparison_is_written_and_gone_on_with(
    url: str, tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [url, "--prior", tiny_prior, "--patches", 5, "--detector", "lateral", "--out", out]
    seen: list[Work | None] = []
    with watched(seen.append):
        status, said, error = run_ddgm(capsys, "benchmark", *words, "--methods", "cgls,ddx-10")
    assert (status, error) == (0, "")
    ddx = [work for work in seen if work is not None and work.what == "running DDX"]
    assert {work.done for work in ddx} == set(range(ddx[0].total + 1))  # as its process says
    table = (out / "benchmark.md").read_text()
    assert table.strip() in said
    rows = {
        row.split("|")[1].strip()
        for row in table.splitlines()
        if row[:3] != "| -" and row[:1] == "|"
    }
    assert rows == {"method", "CGLS", "DDX"}
    before = json.loads((out / "benchmark.json").read_text())["methods"]
    assert len(before["cgls"]["mse"]) == 5
    for picture in ("benchmark.png", "benchmark-trade.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert len(before["cgls"]["invented"]) == len(before["ddx-10"]["invented"]) == 5
    marked = json.loads((out / "results" / "cgls.json").read_text())
    marked["result"]["seconds"] = 12345.0
    (out / "results" / "cgls.json").write_text(json.dumps(marked))
    status, said, _ = run_ddgm(capsys, "benchmark", *words, "--methods", "cgls,fbp")
    assert status == 0
    assert "12345.00" in said  # not measured again
    assert run_ddgm(capsys, "benchmark", *words, "--methods", "cgls", "--seed", 1)[0] == 0
    after = json.loads((out / "benchmark.json").read_text())["methods"]
    assert after["cgls"]["mse"] != before["cgls"]["mse"]  # another comparison is


@pytest.mark.parametrize(
    "text", ["ddgm:steps=7:gradient_steps=3", "ddx:sigma=1.5..0.2:rho=4", "ddgm"]
)
def test_what_tune_finds_can_be_pasted_into_a_spec(text: str) -> None:
    method = parse_method(text)
    assert label(method) == text
    parts = YAML(typ="safe").load(f"method: {in_spec(method)}")
    spec = Spec.model_validate({"source": {"url": "a"}, "output": {"path": "run"}} | parts)
    assert spec.method == method


def test_a_word_is_taken_as_the_method_knows_it() -> None:
    assert parse_method("ddx:planes=alternate").couples_slices
    with pytest.raises(MethodError, match="method: ddx: planes: 'x' must be slice or alternate"):
        parse_method("ddx:planes=x")


def test_slices_drawn_one_by_one_cannot_be_coupled() -> None:
    request = ComparisonRequest("none.npy", patches=1)
    with pytest.raises(BenchmarkError, match="ddx:planes=alternate: it couples neighbouring"):
        request.check(parse_method("ddx:planes=alternate"))


def test_a_number_has_its_former_name_beside_the_specs() -> None:
    assert parse_method("ddgm:count=7") == parse_method("ddgm:gradient_steps=7")
    assert parse_method("ddgm:sigma=2").sigmas[0] == 2.0
    assert parse_method("ddgm:sigma=2").sigmas[-1] == 0.03


def points(folder: Path) -> dict[str, dict[str, list[float]]]:
    return json.loads((folder / "tune.json").read_text())["points"]


def test_a_grid_is_measured_written_and_made_finer(
    url: str,
    shared: Shared,
    tmp_path: Path,
    tiny_prior: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On real Dask workers; a point that is there is not measured again."""
    words = ["tune", url, "ddx:steps=3", "--prior", tiny_prior, "--patches", 3, "--out", tmp_path]
    words += ["--detector", "lateral", "--grid", "rho=2,8"]
    status, said, error = run_ddgm(capsys, *words, "--workers", 1)
    assert (status, error) == (0, "")
    first = points(tmp_path)
    assert list(first) == ["ddx:steps=3:rho=2", "ddx:steps=3:rho=8"]
    assert (tmp_path / "tune.md").read_text().strip() in said
    request = ComparisonRequest(url, patches=3, detector="lateral", prior=str(tiny_prior))
    by_hand, _ = solve(parse_method("ddx:steps=3:rho=8"), request.comparison, request.normalised)
    assert first["ddx:steps=3:rho=8"]["mse"] == pytest.approx(by_hand.mse)
    (kept,) = tmp_path.glob("results/ddx:steps=3:rho=8.json")
    marked = json.loads(kept.read_text())
    marked["result"]["seconds"] = 12345.0
    kept.write_text(json.dumps(marked))
    words += ["--scheduler", shared.part["address"]]
    assert run_ddgm(capsys, *words, "--grid", "sigma=2..0.03")[0] == 0  # other points
    assert run_ddgm(capsys, *words)[0] == 0
    assert points(tmp_path)["ddx:steps=3:rho=8"]["seconds"] == 12345.0
    assert run_ddgm(capsys, *words, "--grid", "kappa=2,3")[0] == 0
    assert len(points(tmp_path)) == 4
    assert (tmp_path / "tune.png").read_bytes().startswith(b"\x89PNG")


def test_an_array_is_as_good_as_a_volume(url: str, tmp_path: Path, tiny_prior: Path) -> None:
    volume, bounds = opened(url)
    np.save(tmp_path / "em.npy", volume.read(bounds).data)
    given = {"patches": 4, "prior": str(tiny_prior)}
    ours, theirs = (
        ComparisonRequest(str(tmp_path / "em.npy"), **given),
        ComparisonRequest(url, **given),
    )
    assert torch.equal(ours.normalised, theirs.normalised)


def test_a_comparison_makes_the_passes_that_its_restorer_was_trained_for() -> None:
    assert not any("restorer" in method.networks for method in usual(0).values())
    three = usual(3)
    assert three["restore"].evaluations == 3
    assert three["restored-ddx-3"].evaluations == 6
    assert {m.passes_of_restorer for m in three.values()} == {0, 3}
    assert set(three) == set(PRESETS) - {"dps-1000", "diffpir-50"}
