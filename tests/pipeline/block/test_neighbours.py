"""Priors that see neighbouring slices: in blocks, through the pool, and where there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ddgm
from ddgm.core.geometry import TiltGeometry
from ddgm.core.networks.conditions import Conditions
from ddgm.core.networks.prior import PriorCard, PriorError, load_prior, save_prior
from ddgm.core.networks.unet import Architecture
from ddgm.pipeline.evaluation.comparison_request import ComparisonRequest
from ddgm.pipeline.evaluation.generate import GenerationRequest
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from tests.ddgm_core.sample_networks import random_network
from tests.pipeline.block.test_halo import METHODS, coupled, written
from tests.pipeline.runs import layers, phantom_volume, spec_data
from tests.workers.shared import Shared

ALTERNATE, ALONE = METHODS["ddx"], METHODS["ddx"] | {"planes": "slice"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("volume")
    return phantom_volume(folder, (32, 40, 16), chunk=(32, 40, 8))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior that sees three slices, untrained."""
    path = tmp_path_factory.mktemp("prior") / "three.safetensors"
    network = random_network(Architecture(width=8, levels=3, convolutions=2, channels=3))
    card = PriorCard(network.architecture, mean=128.0, std=34.0, voxel_size_nm=16.0, patch=32)
    save_prior(path, network, card)
    return path


@pytest.fixture(scope="module")
def one_block(url: str, three: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is written of the volume as one block."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    return written(coupled(url, folder, three, ALTERNATE, slices=16))


def test_blocks_whose_halo_is_the_whole_volume_give_what_one_block_gives(
    url: str, three: Path, one_block: dict[str, bytes], tmp_path: Path
) -> None:
    assert written(coupled(url, tmp_path / "two", three, ALTERNATE, slices=8, halo=8)) == one_block


def test_the_pool_gives_the_same_bits(
    url: str, three: Path, one_block: dict[str, bytes], tmp_path: Path, shared: Shared
) -> None:
    data = coupled(url, tmp_path / "run", three, ALTERNATE, slices=8, halo=8).model_dump()
    spec = Spec.model_validate(data | {"cluster": shared.part, "pool": {"placement": "calls"}})
    assert run(spec, lambda event: None).done == 2
    assert layers(tmp_path / "run") == one_block


def test_a_method_that_solves_slices_alone_is_refused(
    url: str, three: Path, tmp_path: Path
) -> None:
    said = "its network sees 3 neighbouring slices at once, and here each is denoised alone; set "
    with pytest.raises(PriorError, match=f"prior.weights: {said}method.planes: alternate"):
        prepare(coupled(url, tmp_path / "run", three, ALONE, slices=8))
    assert not (tmp_path / "run").exists()
    geometry = TiltGeometry.uniform(32, 40, views=12, detector="lateral")
    y = ddgm.simulate(np.zeros((2, 32, 40)), geometry)
    prior = ddgm.load_prior(str(three))
    with pytest.raises(PriorError, match=said):
        ddgm.reconstruct(y, geometry, prior, method=ALONE)
    x = ddgm.reconstruct(y, geometry, prior, method=ALTERNATE, stride=24)
    assert np.isfinite(x).all()


def test_float8_is_refused(url: str, three: Path, tmp_path: Path) -> None:
    geometry = TiltGeometry.uniform(32, 40, views=12, detector="lateral")
    y = ddgm.simulate(np.zeros((2, 32, 40)), geometry)
    with pytest.raises(PriorError, match="float8 is for networks that see one slice"):
        ddgm.reconstruct(y, geometry, str(three), method=ALTERNATE, precision="float8")


def test_single_images_are_neither_generated_nor_compared(three: Path) -> None:
    for request in (GenerationRequest(str(three)), ComparisonRequest("none.npy", prior=str(three))):
        with pytest.raises(PriorError, match=r"--prior: .* sees 3 neighbouring slices"):
            _ = request.weights


def test_a_block_looks_as_far_as_a_restorer_and_gives_what_one_block_gives(
    url: str, tiny_prior: Path, tmp_path: Path
) -> None:
    """Two passes, each of which sees one slice further on either side."""
    method = {"name": "restore", "passes": 2, "channels": 3}
    prior = load_prior(str(tiny_prior)).card
    network = random_network(replace(prior.architecture, channels=3))
    path = tmp_path / "restorer.safetensors"

    def spec(name: str, method: dict[str, Any], **block: int) -> Spec:
        data = spec_data(url, tmp_path / name, tiny_prior, block={"slices": 8, **block})
        data["prior"] |= {"restorer": str(path)}
        return Spec.model_validate(data | {"method": method})

    plan = make_plan(spec("any", {"name": "ddx"}))
    g, tilts = plan.geometry, plan.spec.tilts
    conditions = Conditions(g.detector, 32, g.width, g.views, tilts.range, tilts.noise)
    card = replace(prior, architecture=network.architecture, restores=conditions, passes=2)
    save_prior(path, network, card)
    one = written(spec("one", method, slices=16))
    assert spec("two", method).halo == 2  # of 16 by default
    assert written(spec("two", method)) == one
    nearer = written(spec("nearer", method, halo=1))
    assert nearer["reconstruction"] != one["reconstruction"]
    with pytest.raises(PriorError, match=r"channels: 3, and .* has 1; set method.channels: 3"):
        prepare(spec("alone", {"name": "restore", "passes": 2}))
