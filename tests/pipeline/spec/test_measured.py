"""Specs of measured tilt series: what they need, what is refused, and that they come back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import PlanError, make_plan
from ddgm.pipeline.spec.yaml_file import SpecError, check_spec, dump_spec, load_spec
from ddgm.pipeline.volumes.series.views import read_views, write_views
from tests.pipeline.series import series_spec, stack_of

SOURCE = {"tilts": "a.mrc", "views": "a.csv", "thickness": 32, "voxel_size_nm": 16}
ANGLES = (40.0, -50.0, 0.0, 20.0, -30.0, 60.0, -10.0, 10.0)  # in no order


def checked(source: dict[str, Any] | None = None, **parts: Any) -> Spec:
    return check_spec({"source": {**SOURCE, **(source or {})}, "output": {"path": "r"}, **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"source": {"url": "em"}}, "source.url: give one of url"),
        ({"source": {"mip": 1}}, "source.mip: is of volumes, and tilts names"),
        ({"source": {"missing": 7}}, "source.missing: is of volumes"),
        ({"source": {"thickness": None}}, "source.thickness: required with tilts"),
        ({"tilts": {"count": 61}}, "tilts.count: is not for a measured tilt series: the table"),
        ({"tilts": {"simulate": {"shift": 1}}}, "tilts.simulate: is not for a measured"),
        ({"tilts": {"detector": "lateral"}}, "tilts.detector: is not for a measured"),
        ({"tilts": {"noise": 0}}, "tilts.noise: 0 is no unit"),
        ({"slab": {"thickness": 64}}, "slab.thickness: is not for a measured tilt series: source."),
        ({"slab": {"tilt_axis": "x", "width_axis": "y"}}, "slab.width_axis: y must be x"),
        ({"output": {"path": "r", "layers": ["reconstruction", "truth"]}}, "output.layers: truth"),
        ({"output": {"path": "r", "layers": ["reconstruction", "invented"]}}, "invented needs the"),
        ({"calibration": "c.json"}, "calibration: is for simulated views alone"),
    ],
)
def test_what_is_of_volumes_and_their_truth_is_refused_by_name(
    parts: dict[str, Any], message: str
) -> None:
    source = parts.get("source", {})
    with pytest.raises(SpecError) as error:
        checked(source, **{k: v for k, v in parts.items() if k != "source"})
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["thickness", "views", "binning", "signal", "voxel_size_nm"])
def test_what_is_of_series_is_refused_of_a_volume(name: str) -> None:
    values = {**SOURCE, "binning": 2, "signal": "linear"}
    with pytest.raises(SpecError, match=rf"source\.{name}: is of measured tilt series"):
        check_spec({"source": {"url": "em", name: values[name]}, "output": {"path": "r"}})


def test_axes_and_layers_are_those_of_a_series_and_a_spec_comes_back_as_it_was(
    tmp_path: Path,
) -> None:
    spec = checked(tilts={"hold_out": 8})
    slab = spec.slab
    assert (slab.thickness_axis, slab.width_axis, slab.tilt_axis) == ("z", "x", "y")
    assert (slab.thickness, spec.output.layers) == (32, ("reconstruction", "algebraic"))
    text = dump_spec(spec)
    assert not {"count", "range", "mip", "url"} & set(text.replace(":", " ").split())
    (tmp_path / "spec.yaml").write_text(text)
    assert load_spec(tmp_path / "spec.yaml") == spec
    assert Spec.model_validate_json(spec.model_dump_json()).slab == slab


def test_a_spec_of_a_volume_says_nothing_of_series() -> None:
    spec = check_spec({"source": {"url": "em"}, "output": {"path": "r"}})
    source = spec.model_dump(mode="json")["source"]
    keys = "url", "mip", "resample", "box", "missing", "invalid", "bandwidth", "intensity"
    assert tuple(source) == keys


def small(folder: Path, weights: Path, **parts: Any) -> Spec:
    x = np.random.default_rng(0).normal(size=(16, 4, 40))
    return series_spec(folder, stack_of(folder, x, ANGLES, 40), 16, weights, **parts)


def test_views_are_held_out_by_their_angles_whatever_their_order(
    tmp_path: Path, tiny_prior: Path
) -> None:
    plan = make_plan(small(tmp_path, tiny_prior, tilts={"hold_out": 3}))
    assert [ANGLES[i] for i in plan.held_out] == [40.0, -30.0]
    assert plan.kept.views == 6
    with pytest.raises(PlanError, match=r"tilts\.hold_out: 1 leaves 0 of 8 views"):
        make_plan(small(tmp_path, tiny_prior, tilts={"hold_out": 1}))


def test_a_series_is_cut_along_its_tilt_axis_alone(tmp_path: Path, tiny_prior: Path) -> None:
    box = {"z": (0, 16), "y": (1, 3), "x": (0, 40)}
    assert make_plan(small(tmp_path, tiny_prior, source={"box": box})).slices == 2
    with pytest.raises(PlanError, match=r"source\.box\.x: .* along y alone.* \[0, 40\]"):
        make_plan(small(tmp_path, tiny_prior, source={"box": {**box, "x": (0, 30)}}))


def test_a_table_that_was_edited_is_another_run_and_its_line_is_named(
    tmp_path: Path, tiny_prior: Path
) -> None:
    spec = small(tmp_path, tiny_prior)
    views = read_views(tmp_path / "views.csv")
    write_views(tmp_path / "views.csv", views, ["signal: linear"])
    prepare(spec)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["views"]["1"]["angle"] == -50
    assert manifest["remarks"] == ["signal: linear"]
    write_views(tmp_path / "views.csv", views, ["another remark"])
    prepare(spec)
    edited = [replace(view, gain=1.5 if view.view == 3 else 1) for view in views]
    write_views(tmp_path / "views.csv", edited)
    with pytest.raises(DdgmError, match=r"views\.3\.gain is 1\.0 there and 1\.5 here"):
        prepare(spec)


def test_levels_that_were_never_fitted_are_refused(tmp_path: Path, tiny_prior: Path) -> None:
    spec = small(tmp_path, tiny_prior)
    views = read_views(tmp_path / "views.csv")
    write_views(tmp_path / "views.csv", [replace(view, offset=-3000.0) for view in views])
    with pytest.raises(DdgmError, match=r"source\.views: with its gains and offsets"):
        prepare(spec)


@pytest.mark.parametrize("binning", [1, 2])
def test_all_pixels_of_the_rows_are_fetched(tmp_path: Path, tiny_prior: Path, binning: int) -> None:
    """A voxel is made of a square of the stack's pixels, of the views that are used."""
    files = stack_of(tmp_path, np.zeros((32, 16, 48), np.float32), ANGLES, columns=48)
    plan = make_plan(series_spec(tmp_path, files, 32, tiny_prior, source={"binning": binning}))
    pixels = len(ANGLES) * 16 * 48
    assert fetch_bytes(plan).needed == pixels * np.dtype(plan.info.dtype).itemsize
