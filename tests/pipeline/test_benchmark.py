"""`ddgm benchmark` compares methods on the same tilts, keeps what it has, and refuses nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ddgm_core import metrics
from ddgm_core.denoiser import load_prior
from ddgm_core.geometry import Detector, TiltGeometry
from ddgm_core.least_squares import filtered_back_projection
from ddgm_core.noise import NoiseField
from ddgm_core.projectors import FourierProjector, MatrixProjector, Spectral
from ddgm_core.projectors.dense import DenseProjector
from pipeline.benchmark.measure import projector_for, solve
from pipeline.benchmark.methods import METHODS, Setting
from pipeline.benchmark.trial import Trial
from tests.pipeline.runs import phantom_volume, run_ddgm


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


def trial(prior: Path, detector: Detector = "lateral") -> Trial:
    digest = load_prior(str(prior)).digest
    return Trial(detector, str(prior), digest, "float32", 4.1, 3, 4, "patches")


@pytest.mark.parametrize(
    "name", [n for n in METHODS if n not in ("dps-1000", "ddgm-150", "diffpir-50")]
)
@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_every_method_solves_every_slice_with_either_detector(
    tiny_prior: Path, name: str, detector: Detector
) -> None:
    patches = torch.randn(2, 16, 16)
    result, images = solve(METHODS[name], trial(tiny_prior, detector), patches)
    assert np.isfinite(images).all()
    assert images.shape == (2, 16, 16)
    assert result.mse == pytest.approx(metrics.mse(torch.from_numpy(images), patches).tolist())
    assert result.seconds > 0


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
        solve(METHODS[name], trial(tiny_prior), torch.randn(2, 16, 16))
        assert calls == [2] * METHODS[name].method.networks


def test_all_methods_see_the_same_measurements(tiny_prior: Path) -> None:
    """Back-projection by hand, of the noise that the seed and the slices' numbers give."""
    patches = torch.randn(6, 16, 16)
    _, images = solve(Setting("fbp"), trial(tiny_prior), patches)
    a = FourierProjector(TiltGeometry.uniform(16, 16, detector="lateral"))
    field = NoiseField(3, "sinogram")
    y = a.forward(patches)
    y = y + 4.1 * field.batch(tuple(y.shape[1:]), [(0, 0, i) for i in range(6)])
    assert np.allclose(images, filtered_back_projection(a, y).numpy(), atol=1e-4)


def test_a_method_gets_the_projector_that_it_needs() -> None:
    perpendicular, lateral = (
        TiltGeometry.uniform(16, 16, 9, detector=d) for d in ("perpendicular", "lateral")
    )
    assert type(projector_for(METHODS["ddgm-50"].method, perpendicular)) is MatrixProjector
    assert type(projector_for(METHODS["ddrm-10"].method, perpendicular)) is DenseProjector
    assert isinstance(projector_for(METHODS["ddrm-10"].method, lateral), Spectral)


def test_a_comparison_is_written_and_gone_on_with(
    url: str, tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [url, "--prior", tiny_prior, "--patches", 5, "--detector", "lateral", "--out", out]
    status, said, error = run_ddgm(capsys, "benchmark", *words, "--methods", "cgls,ddx-10")
    assert (status, error) == (0, "")
    table = (out / "benchmark.md").read_text()
    assert table.strip() in said
    rows = {
        row.split("|")[1].strip()
        for row in table.splitlines()
        if row[:3] != "| -" and row[:1] == "|"
    }
    assert rows == {"method", "CGLS", "DDX (ours)"}
    before = json.loads((out / "benchmark.json").read_text())["methods"]
    assert len(before["cgls"]["mse"]) == 5
    assert (out / "benchmark.png").read_bytes().startswith(b"\x89PNG")
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
    ("words", "said"),
    [
        (["--methods", "ddgm-50,magic"], "method: 'magic' is none; choose of fbp, cgls"),
        (["--patches", "0"], "--patches: 0; give at least 1"),
        (["--detector", "round"], "--detector: 'round' must be perpendicular or lateral"),
        (["--precision", "int8"], "--precision: 'int8' must be float32 or bfloat16"),
        (["--prior", "nobody"], "'nobody' is neither a shipped prior"),
        (["--box", "0:8,0:8"], "--box: '0:8,0:8' must be z0:z1,y0:y1,x0:x1"),
        (["--prior", "small"], "holds no patch of 128 x 128"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    status, _, error = run_ddgm(capsys, "benchmark", url, "--out", tmp_path / "out", *words)
    assert status == 1
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
