"""Runs whose method calls a network that restores: the same bits anywhere, or a refusal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import ddgm
from ddgm.core.networks.conditions import Conditions
from ddgm.core.networks.prior import PriorError, load_prior, save_prior
from ddgm.core.networks.unet import UNet
from ddgm.pipeline.block.denoising import check_spec_restorer
from ddgm.pipeline.evaluation.comparison_request import BenchmarkError, ComparisonRequest
from ddgm.pipeline.evaluation.methods import PRESETS
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.manifest import differing
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.block.test_halo import written
from tests.pipeline.runs import layers, phantom_volume, spec_data
from tests.workers.shared import Shared

START: dict[str, Any] = {"name": "ddx", "steps": 2, "sigma": [0.3, 0.1], "start": "restored"}
ONE_PASS = {"name": "restore"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("volume")
    return phantom_volume(folder, (32, 40, 8), chunk=(32, 40, 8))


def data(url: str, output: Path | str, prior: Path, method: dict[str, Any]) -> dict[str, Any]:
    return spec_data(url, output, prior, block={"slices": 4}) | {"method": method}


@pytest.fixture(scope="module")
def restorer(url: str, tiny_prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for the tilts of these specs, other weights than the prior's, untrained."""
    spec = Spec.model_validate(data(url, "run", tiny_prior, {"name": "ddx"}))
    return trained_for(spec, tiny_prior, tmp_path_factory.mktemp("restorer"))


def trained_for(spec: Spec, prior: Path, folder: Path, **changed: Any) -> Path:
    """A network whose card says that it was trained for the tilts of a spec, but for a change."""
    g, tilts = make_plan(spec).geometry, spec.tilts
    conditions = Conditions(g.detector, g.thickness, g.width, g.views, tilts.range, tilts.noise)
    begun = load_prior(str(prior))
    network = begun.network
    assert isinstance(network, UNet)
    for p in network.parameters():
        p.data *= 0.9
    path = folder / "restorer.safetensors"
    save_prior(path, network, replace(begun.card, restores=replace(conditions, **changed)))
    return path


def with_restorer(spec: dict[str, Any], restorer: Path) -> Spec:
    return Spec.model_validate(spec | {"prior": spec["prior"] | {"restorer": str(restorer)}})


@pytest.mark.parametrize("method", [ONE_PASS, START], ids=["restore", "ddx"])
def test_the_pool_gives_the_bits_of_one_process(
    url: str,
    tiny_prior: Path,
    restorer: Path,
    tmp_path: Path,
    shared: Shared,
    method: dict[str, Any],
) -> None:
    here = with_restorer(data(url, tmp_path / "here", tiny_prior, method), restorer)
    alone = written(here)
    spec = data(url, tmp_path / "pool", tiny_prior, method)
    spec |= {"cluster": shared.part, "pool": {"placement": "calls"}}
    assert run(with_restorer(spec, restorer), lambda event: None).done == 2
    assert layers(tmp_path / "pool") == alone


def test_other_weights_make_another_result(
    url: str, tiny_prior: Path, restorer: Path, tmp_path: Path
) -> None:
    spec = with_restorer(data(url, tmp_path / "run", tiny_prior, ONE_PASS), restorer)
    prepare(spec)
    kept = RunStore(str(tmp_path / "run")).manifest()
    other = trained_for(spec, tiny_prior, tmp_path)  # the same weights elsewhere
    assert kept["spec"]["prior"]["restorer"] == str(restorer)
    moved = with_restorer(data(url, tmp_path / "moved", tiny_prior, ONE_PASS), other)
    prepare(moved)
    assert RunStore(str(tmp_path / "moved")).manifest()["digest"] == kept["digest"]
    changed = trained_for(spec, restorer, tmp_path)
    prepare(with_restorer(data(url, tmp_path / "changed", tiny_prior, ONE_PASS), changed))
    another = RunStore(str(tmp_path / "changed")).manifest()
    assert another["digest"] != kept["digest"]
    assert any("prior.restorer_sha256 is" in line for line in differing(kept, another))


def test_a_restorer_that_no_method_calls_changes_nothing(
    url: str, tiny_prior: Path, restorer: Path, tmp_path: Path
) -> None:
    ddx = {"name": "ddx", "steps": 2}
    prepare(Spec.model_validate(data(url, tmp_path / "without", tiny_prior, ddx)))
    prepare(with_restorer(data(url, tmp_path / "with", tiny_prior, ddx), restorer))
    digests = {RunStore(str(tmp_path / n)).manifest()["digest"] for n in ("with", "without")}
    assert len(digests) == 1


def test_a_method_that_calls_one_needs_one(url: str, tiny_prior: Path) -> None:
    for method in (ONE_PASS, START):
        with pytest.raises(ValidationError, match=r"prior.restorer: method .* calls a network"):
            Spec.model_validate(data(url, "run", tiny_prior, method))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tilt_noise": 8.0}, "noise 8, not "),
        ({"views": 5}, "views 5, not "),
        ({"thickness": 31}, "thickness 31, not 32"),
    ],
)
def test_other_tilts_are_refused_before_anything_is_written(
    url: str, tiny_prior: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    spec = data(url, tmp_path / "run", tiny_prior, ONE_PASS)
    tilts = Spec.model_validate(spec | {"method": {"name": "ddx"}})
    other = trained_for(tilts, tiny_prior, tmp_path, **changed)
    with pytest.raises(PriorError, match=re.escape(f"was trained to restore {said}")):
        prepare(with_restorer(spec, other))
    assert not (tmp_path / "run").exists()


def test_other_passes_are_refused_before_anything_is_written(
    url: str, tiny_prior: Path, restorer: Path, tmp_path: Path
) -> None:
    spec = data(url, tmp_path / "run", tiny_prior, ONE_PASS | {"passes": 3})
    with pytest.raises(PriorError, match="trained for passes: 1, and the method has 3"):
        prepare(with_restorer(spec, restorer))
    assert not (tmp_path / "run").exists()


def test_a_restorer_on_squares_of_pixels_is_refused_in_float8(
    url: str, tiny_prior: Path, restorer: Path, tmp_path: Path
) -> None:
    card = load_prior(str(restorer)).card
    squares = replace(card.architecture, unshuffle=2)
    path = tmp_path / "squares.safetensors"
    save_prior(path, UNet(squares), replace(card, architecture=squares))
    given = data(url, "run", tiny_prior, ONE_PASS)
    given["prior"] |= {"precision": "float8"}
    spec, prior = with_restorer(given, path), load_prior(str(tiny_prior)).card
    with pytest.raises(PriorError, match=r"prior.restorer: .* runs in no float8; .* use bfloat16"):
        check_spec_restorer(spec, prior, make_plan(spec).kept)
    check_spec_restorer(with_restorer(given, restorer), prior, make_plan(spec).kept)


def test_networks_of_the_other_task_are_refused(
    url: str, tiny_prior: Path, restorer: Path, tmp_path: Path
) -> None:
    spec = data(url, tmp_path / "run", tiny_prior, ONE_PASS)
    with pytest.raises(PriorError, match=r"prior.restorer: .* is a prior, which denoises"):
        prepare(with_restorer(spec, tiny_prior))
    swapped = Spec.model_validate(data(url, tmp_path / "run", restorer, {"name": "ddx"}))
    alone = with_restorer(data(url, tmp_path / "run", restorer, ONE_PASS), restorer)
    for other in (swapped, alone):  # also where it would only normalise
        with pytest.raises(PriorError, match=r"prior.weights: its network restores tilt series"):
            prepare(other)


def test_arrays_are_restored_as_runs_are(
    url: str, tiny_prior: Path, restorer: Path, tmp_path: Path
) -> None:
    spec = with_restorer(data(url, tmp_path / "run", tiny_prior, ONE_PASS), restorer)
    geometry = make_plan(spec).geometry
    y = ddgm.simulate(np.zeros((2, 32, geometry.width)), geometry)
    network = {"restorer": str(restorer), "stride": 24}
    x = ddgm.reconstruct(y, geometry, str(tiny_prior), "restore", spec.tilts.noise, **network)
    assert x.shape == (2, 32, geometry.width)
    with pytest.raises(PriorError, match="was trained to restore noise"):
        ddgm.reconstruct(y, geometry, str(tiny_prior), "restore", 9.0, **network)


def test_a_comparison_names_the_option(tmp_path: Path, tiny_prior: Path, restorer: Path) -> None:
    request = ComparisonRequest("none.npy", prior=str(tiny_prior))
    with pytest.raises(BenchmarkError, match=r"restore: it calls a network .* --restorer"):
        request.check(PRESETS["restore"])
    with pytest.raises(BenchmarkError, match="--degrees: 60,-60"):
        ComparisonRequest("none.npy", degrees=(60.0, -60.0))
