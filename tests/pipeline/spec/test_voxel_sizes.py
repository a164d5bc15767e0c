"""Voxels that are no cubes: their sides reach the tilts, and a prior knows only cubes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.core.networks.prior import PriorError
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.spec.yaml_file import SpecError, check_spec
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from tests.pipeline.cli.words import write_spec
from tests.pipeline.runs import layer, run_ddgm, spec_data
from tests.pipeline.sample_volumes import write_volume

DEPTH = 40  # voxels between the two points, along the thickness
NOMINAL = [-60, -30, 0, 30, 60]


def points(thickness: str, width: str, tilt: str) -> np.ndarray:
    """A bright and a dark point on grey in each of two slices, (z, y, x)."""
    stack = np.full((64, 96, 2), 100, np.uint8)
    stack[12, 48], stack[52, 44] = 255, 0
    return stack.transpose([(thickness, width, tilt).index(axis) for axis in "zyx"])


def spec_of(url: str, run: Path, weights: Path, **parts: Any) -> dict[str, Any]:
    given = {
        "slab": {"thickness": 64},
        "source": {"intensity": {"mean": 100, "std": 50}},
        "tilts": {"count": 5, "noise": 0},
        "output": {"layers": ["reconstruction", "sinogram"]},
        "block": {"slices": 2, "batch": 2},
        "method": {"name": "gradient_descent", "gradient_steps": 2},
    }
    data = spec_data(url, run, weights)
    data["method"] = given["method"]
    for name, part in (given | parts).items():
        data[name] = part if name == "method" else {**data[name], **part}
    return data


def sinogram_of(folder: Path, weights: Path, axes: str, sizes: dict[str, int]) -> np.ndarray:
    """What a run of the points has as its first slice's sinogram; axes are those of a stack."""
    thickness, width, tilt = axes
    nm = tuple(sizes[axis] for axis in "zyx")
    url = write_volume(folder / "points", points(*axes), voxel_size_nm=nm)  # type: ignore[arg-type]
    names = {"thickness_axis": thickness, "width_axis": width, "tilt_axis": tilt}
    data = spec_of(url, folder / "run", weights, slab={"thickness": 64, **names})
    run_alone(Spec.model_validate(data), 0)
    return layer(folder / "run", "sinogram")[0, 0]


@pytest.mark.parametrize("axes", ["zyx", "xzy", "yxz"])
@pytest.mark.parametrize(("along", "across"), [(40, 4), (4, 40), (10, 4), (16, 16)])
def test_the_tilts_are_those_of_the_spec(
    tmp_path: Path, tiny_prior: Path, axes: str, along: int, across: int
) -> None:
    sizes = dict(zip(axes, (along, across, 7), strict=True))
    y = sinogram_of(tmp_path, tiny_prior, axes, sizes)
    bins = [int(row.argmax()) - int(row.argmin()) - 4 for row in y]
    for found, degrees in zip(bins, NOMINAL, strict=True):
        exact = DEPTH * along / across * np.tan(np.radians(degrees))
        assert abs(found - exact) <= 1
    if along == 10 * across:
        assert bins[-1] in (692, 693)


def test_a_size_along_the_tilt_axis_changes_nothing(tmp_path: Path, tiny_prior: Path) -> None:
    found = []
    for tilt in (4, 40):
        folder = tmp_path / str(tilt)
        found.append(sinogram_of(folder, tiny_prior, "zyx", {"z": 4, "y": 4, "x": tilt}))
    np.testing.assert_array_equal(*found)


def plan(sizes: tuple[float, float, float], detector: str = "lateral", **parts: Any) -> Plan:
    info = VolumeInfo(Box((0, 0, 0), (64, 96, 2)), sizes, "uint8", (64, 64, 64), 1, 0)
    data = {
        "source": {"url": "a"},
        "output": {"path": "run"},
        "slab": {"thickness": 64},
        "tilts": {"detector": detector},
        "block": {"slices": 2, "batch": 2},
    }
    return make_plan(Spec.model_validate(data | parts), info)


def test_sizes_that_differ_by_their_rounding_are_cubes() -> None:
    assert plan((0.0098 * 1000, 9.8, 9.8)).geometry == plan((16, 16, 16)).geometry


@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
def test_memory_is_that_of_longer_ways_and_more_bins(detector: str) -> None:
    cubes, deep = (worker_memory(plan(nm, detector)) for nm in ((16, 16, 16), (40, 4, 4)))
    assert deep.projector > 1.2 * cubes.projector
    if detector == "lateral":
        assert deep.block > 2 * cubes.block


def test_a_prior_trained_on_cubes_is_refused_unless_the_spec_says_otherwise(
    tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = write_volume(tmp_path / "em", points(*"zyx"), voxel_size_nm=(40, 4, 4))
    method = {"name": "ddgm", "steps": 2, "gradient_steps": 2}
    data = spec_of(url, tmp_path / "run", tiny_prior, method=method)
    with pytest.raises(PriorError, match=r"^prior\.weights: .* cubes of .* 40 nm along z and 4 nm"):
        prepare(Spec.model_validate(data))
    assert not (tmp_path / "run").exists()
    status, out, err = run_ddgm(capsys, "plan", write_spec(tmp_path, data), "--no-calibrate")
    words = " ".join(out.split())
    assert status == 1
    assert err.startswith("error: prior.weights: ")
    assert "40 x 4 x 4 nm" in words
    assert "refused without prior.any_voxel_size: true" in words
    assert "of 64 x 96 pixels of 40 x 4 nm" in words
    data["prior"] |= {"any_voxel_size": True}
    path = write_spec(tmp_path, data)
    assert run_ddgm(capsys, "plan", path, "--no-calibrate")[0] == 0
    allowed = prepare(Spec.model_validate(data)).digest
    data["prior"] |= {"any_voxel_size": False}
    data["method"] = {"name": "gradient_descent"}
    data["output"] |= {"path": str(tmp_path / "no-prior")}
    assert prepare(Spec.model_validate(data)).digest != allowed


@pytest.mark.parametrize(("along", "refused"), [(16.1, False), (16.3, True), (15.7, True)])
def test_sides_may_differ_by_a_hundredth(along: float, refused: bool) -> None:
    one = plan((along, 16, 3))
    assert one.aspect == pytest.approx(along / 16, rel=1e-5)
    assert one.refuses_prior is refused


def test_planes_in_turn_need_cubes() -> None:
    flat = (16, 16, 40)  # slices are square; the plane across the beam is not
    assert not plan(flat, method={"name": "ddx"}).refuses_prior
    crossing = {"name": "ddx", "planes": "alternate"}
    block = {"slices": 2, "batch": 2, "halo": 0}
    assert plan(flat, method=crossing, block=block).refuses_prior
    assert plan(flat, method=crossing, block=block).network_sides_nm == {"z": 16, "y": 16, "x": 40}
    assert not plan((16, 16, 16), method=crossing, block=block).refuses_prior


def test_the_word_for_a_prior_is_no_part_of_the_result(tmp_path: Path, tiny_prior: Path) -> None:
    data = spec_of("a", tmp_path, tiny_prior)
    digests = {
        Spec.model_validate(
            data | {"prior": data["prior"] | {"any_voxel_size": word}}
        ).results_digest()
        for word in (False, True)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("slices", [2, 4])
def test_a_run_of_resampled_voxels_lies_on_its_volume(
    tmp_path: Path, tiny_prior: Path, slices: int
) -> None:
    """Cubes of 16 nm of 40 x 4 x 4: the truth is the volume's own, and the prior takes them."""
    stored = neuropil((32, 128, 40), seed=1)
    url = write_volume(tmp_path / "em", stored, offset=(2, 4, 8), voxel_size_nm=(40, 4, 4))
    run, block = tmp_path / "run", {"slices": slices, "batch": 2}
    method = {"name": "ddgm", "steps": 2, "gradient_steps": 2}
    output = {"layers": ["reconstruction", "truth"]}
    source = {"resample": 16, "box": {"z": [6, 38], "y": [2, 32], "x": [3, 9]}}
    given = {"method": method, "output": output, "source": source, "block": block}
    spec = Spec.model_validate(spec_of(url, run, tiny_prior, **given, slab={"thickness": 32}))
    plan = make_plan(spec)
    for index in range(plan.block_count):
        run_alone(spec, index)
    across = stored[:, 4:124, 4:28].reshape(32, 30, 4, 6, 4).mean(axis=(2, 4))
    z = (np.arange(6, 38) + 0.5) * 16 / 40 - 2 - 0.5
    low = np.floor(z).astype(int).clip(0, 30)
    share = (z - low)[:, None, None]
    truth = across[low] * (1 - share) + across[low + 1] * share
    np.testing.assert_allclose(layer(run, "truth"), truth, atol=0.501)
    ome = json.loads((run / "volume.zarr/truth/zarr.json").read_text())["attributes"]["ome"]
    scale, shift = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [16, 16, 16]
    assert shift["translation"] == [6.5 * 16, 2.5 * 16, 3.5 * 16]
    assert json.loads((run / "run.json").read_text())["source"]["stored_size_nm"] == [40, 4, 4]


def test_what_resampling_reads_and_holds_is_planned(tiny_prior: Path) -> None:
    own = plan((16, 16, 16))
    finer = replace(own.info, stored_size_nm=(40, 4, 4))
    more = replace(own, info=finer)
    assert fetch_bytes(more).needed == int(6.4 * fetch_bytes(own).needed)
    assert worker_memory(more).block > worker_memory(own).block


@pytest.mark.parametrize("size", [0, -4, [16, 16], "16 nm", [16, 0, 16], True])
def test_sizes_that_there_cannot_be_are_refused_in_a_line(size: Any) -> None:
    data = {"source": {"url": "a", "resample": size}, "output": {"path": "run"}}
    with pytest.raises(SpecError, match=r"^source\.resample") as error:
        check_spec(data)
    assert "\n" not in str(error.value)


def test_plan_says_both_sizes_of_resampled_voxels(
    tmp_path: Path, tiny_prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = write_volume(tmp_path / "em", points(*"zyx"), voxel_size_nm=(40, 4, 4))
    data = spec_of(url, tmp_path / "run", tiny_prior, source={"resample": [20, 8, 4]})
    status, out, _ = run_ddgm(capsys, "plan", write_spec(tmp_path, data), "--no-calibrate")
    assert status == 0
    assert "20 x 8 x 4 nm, resampled from 40 x 4 x 4 nm" in " ".join(out.split())
