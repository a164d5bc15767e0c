"""Methods, projectors and denoisers of an installed package work by their names in a spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.run.preflight import check, prepare
from ddgm.pipeline.spec.model import Spec
from tests.pipeline.runs import phantom_volume, run_ddgm, spec_data

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ddgm.core.methods.method import Method
from ddgm.core.networks.prior import Prior, PriorCard
from ddgm.core.networks.unet import Architecture
from ddgm.core.numbers import number
from ddgm.core.projectors import FourierProjector


@dataclass(frozen=True, kw_only=True)
class Scaled(Method):
    """Back-projection, scaled."""

    title: ClassVar[str] = "Their method"
    name: Literal["scaled"] = "scaled"
    gain: float = number(0.5, "of what is projected back", "g", gt=0)

    def solve(self, problem):
        a = problem.projector
        return self.gain * a.adjoint(problem.y) / a.norm**2


class Doubled(FourierProjector):
    """Twice A's forward."""

    def forward(self, x):
        return 2 * super().forward(x)


def nothing():
    card = PriorCard(Architecture(width=8, levels=3, convolutions=2), 128.0, 34.0, 16.0, patch=32)
    return Prior(torch.nn.Dropout(1.0), card, "0" * 64)


def broken():
    return "no prior"
'''
POINTS = """
[ddgm.methods]
scaled = their_package:Scaled
misnamed = their_package:Scaled
gone = their_package:Gone
[ddgm.projectors]
doubled = their_package:Doubled
[ddgm.denoisers]
nothing = their_package:nothing
broken = their_package:broken
"""


def install(folder: Path, version: str) -> None:
    """A distribution as pip leaves it."""
    (folder / "their_package.py").write_text(MODULE)
    about = folder / "their_package.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: their-package\nVersion: {version}\n"
    )
    (about / "entry_points.txt").write_text(POINTS)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, "1.2")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


def spec_of(url: str, out: Path, weights: Path, **parts: Any) -> Spec:
    data = spec_data(url, out, weights)
    for name, part in parts.items():
        data[name] = part if name == "method" else {**data.get(name, {}), **part}
    return Spec.model_validate(data)


def record(spec: Spec) -> Any:
    return run_block(prepare(spec), 0)


def test_a_method_runs_from_a_spec(
    package: Path, url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    spec = spec_of(url, tmp_path / "run", tiny_prior, method={"name": "scaled", "gain": 0.25})
    assert spec == Spec.model_validate_json(spec.model_dump_json())
    half = spec_of(url, tmp_path / "half", tiny_prior, method={"name": "scaled"})
    assert record(spec).checksums["reconstruction"] != record(half).checksums["reconstruction"]


def test_a_projector_and_a_denoiser_run_from_a_spec(
    package: Path, url: str, tmp_path: Path, tiny_prior: Path
) -> None:
    plain = record(spec_of(url, tmp_path / "plain", tiny_prior))
    other = record(spec_of(url, tmp_path / "a", tiny_prior, tilts={"projector": "doubled"}))
    assert other.checksums["reconstruction"] != plain.checksums["reconstruction"]
    blind = record(spec_of(url, tmp_path / "b", tiny_prior, prior={"weights": "nothing"}))
    assert blind.checksums["reconstruction"] != plain.checksums["reconstruction"]


@pytest.mark.parametrize(
    "parts",
    [
        {"method": {"name": "scaled"}},
        {"tilts": {"projector": "doubled"}},
        {"prior": {"weights": "nothing"}},
    ],
)
def test_the_packages_version_is_in_the_runs_digest(
    package: Path, url: str, tmp_path: Path, tiny_prior: Path, parts: dict[str, Any]
) -> None:
    spec, plain = (spec_of(url, tmp_path, tiny_prior, **p) for p in (parts, {}))
    assert list(spec.packages().values()) == ["their-package 1.2"]
    before, untouched = spec.results_digest(), plain.results_digest()
    install(package, "1.3")
    assert spec.results_digest() != before
    assert plain.results_digest() == untouched


@pytest.mark.process
def test_benchmark_knows_the_method(
    package: Path,
    url: str,
    tmp_path: Path,
    tiny_prior: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a process of its own, which finds the package by its path."""
    words = [url, "--prior", tiny_prior, "--patches", 2, "--detector", "lateral"]
    words += ["--methods", "fbp,scaled:gain=2", "--out", tmp_path / "out"]
    status, _, error = run_ddgm(capsys, "benchmark", *words)
    assert (status, error) == (0, "")
    assert "| Their method | g = 2 |" in (tmp_path / "out" / "benchmark.md").read_text()
    kept = json.loads((tmp_path / "out" / "results" / "scaled:gain=2.json").read_text())
    assert kept["key"]["by"] == "their-package 1.2"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"tilts": {"projector": "none"}}, "'none' is none; choose of fourier, matrix, doubled"),
        ({"prior": {"weights": "none"}}, r"neither a shipped prior \(.*, broken, nothing\) nor"),
        ({"prior": {"weights": "broken"}}, "broken of their-package 1.2 returns no Prior"),
        ({"tilts": {"projector": "fourier", "detector": "perpendicular"}}, "projector: fourier: "),
    ],
)
def test_what_cannot_be_used_is_said(
    package: Path, url: str, tmp_path: Path, tiny_prior: Path, parts: dict[str, Any], said: str
) -> None:
    with pytest.raises(DdgmError, match=said):
        check(spec_of(url, tmp_path / "run", tiny_prior, **parts))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"name": "scaled", "gain": -1}, "greater than 0"),
        ({"name": "scaled", "sigma": 3}, "Unexpected keyword"),
        ({"name": "sirt"}, "'sirt'.*expected.*'ddgm'.*'scaled'"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused(
    package: Path, url: str, tmp_path: Path, tiny_prior: Path, method: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=f"(?s){said}"):
        spec_of(url, tmp_path / "run", tiny_prior, method=method)


@pytest.mark.parametrize("name", ["misnamed", "gone"])
def test_an_entry_point_that_is_no_method_names_its_package(
    package: Path, url: str, tmp_path: Path, tiny_prior: Path, name: str
) -> None:
    with pytest.raises(DdgmError, match=rf"{name} of their-package 1\.2"):
        spec_of(url, tmp_path / "run", tiny_prior, method={"name": name})
