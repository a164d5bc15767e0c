"""The training spec: the paper's by default, and one line for each mistake."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ddgm.core.training.recipe import Recipe, RuntimeOptions
from ddgm.pipeline.spec.yaml_file import SpecError, dump_spec, load_spec
from ddgm.pipeline.training.spec import TrainingSpec
from tests.pipeline.training.specs import training_data, training_spec, write_spec

URL = "precomputed://file:///not/there"


def plain(**parts: Any) -> dict[str, Any]:
    data = {"data": {"volumes": [{"url": URL}], "origin": "none"}, "output": "out"}
    return {**data, **parts}


def test_defaults_are_the_papers() -> None:
    """Section 3: Adam with PyTorch's defaults, 380,000 updates of 64 patches of 128 pixels."""
    spec = TrainingSpec.model_validate(plain())
    recipe = spec.recipe()
    assert recipe == Recipe()
    assert (recipe.steps, recipe.batch, recipe.patch) == (380_000, 64, 128)
    assert (recipe.optimizer, recipe.lr, recipe.schedule) == ("adam", 1e-3, "constant")
    assert (recipe.warmup, recipe.clip, recipe.weighting) == (0, None, 0)
    assert recipe.sigma_range == (0.03, 30.0)
    a = recipe.architecture
    assert (a.width, a.levels, a.convolutions) == (128, 5, 6)
    assert spec.runtime_options() == RuntimeOptions()


@pytest.mark.parametrize(
    "name",
    sorted(f.name[:-5] for f in files("ddgm.deploy.specs").iterdir() if f.name[:6] == "train-"),
)
def test_shipped_specs_load_and_survive_being_written(name: str, tmp_path: Path) -> None:
    spec = load_spec(Path(str(files("ddgm.deploy.specs") / f"{name}.yaml")), TrainingSpec)
    (tmp_path / "again.yaml").write_text(dump_spec(spec))
    assert load_spec(tmp_path / "again.yaml", TrainingSpec) == spec


def test_the_hemibrain_spec_is_the_papers_training() -> None:
    path = Path(str(files("ddgm.deploy.specs") / "train-hemibrain.yaml"))
    assert load_spec(path, TrainingSpec).recipe() == Recipe()


def test_every_field_reaches_the_recipe() -> None:
    training = {
        "steps": 7, "batch": 6, "accumulate": 3, "patch": 32, "sigma": [0.1, 5.0],
        "weighting": 0.5, "optimizer": "muon", "lr": 0.01, "warmup": 2, "schedule": "cosine",
        "clip": 2.0, "average": 0.5, "precision": "float32", "seed": 9,
    }  # fmt: skip
    spec = training_spec(URL, "out", training=training, devices=2, loaders=3, save_every=5)
    recipe = spec.recipe()
    for name, value in training.items():
        found = getattr(recipe, {"sigma": "sigma_range"}.get(name, name))
        assert found == (tuple(value) if isinstance(value, list) else value)
        assert found != getattr(Recipe(), {"sigma": "sigma_range"}.get(name, name))
    assert (recipe.architecture.width, recipe.architecture.groups) == (8, 4)
    options = spec.runtime_options()
    assert (options.devices, options.loaders, options.save_every) == (2, 3, 5)


def test_validation_says_how_often_and_on_how_much() -> None:
    spec = training_spec(URL, "out", validation={"url": URL, "every": 3, "slices": 2})
    assert (spec.runtime_options().validate_every, spec.runtime_options().slices) == (3, 2)


TWO = [{"url": URL, "share": 1.0}, {"url": URL}]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"colour": 1}, "colour: unknown key; known here: data"),
    ({"training": {"step": 5}}, "training.step: unknown key; did you mean 'steps'?"),
    (
        {"data": {"volumes": [{"url": URL, "mips": 0}]}},
        "data.volumes.0.mips: unknown key; did you mean 'mip'?",
    ),
    ({"data": {"cache": {"gigabyte": 1}}}, "data.cache.gigabyte: unknown key; did you mean"),
    ({"data": {"volumes": []}}, "data.volumes: "),
    ({"data": {"origin": ""}}, "data.origin: "),
    ({"data": {"volumes": TWO}}, "data.volumes: give a share to each or to none"),
    ({"data": {"volumes": [{"url": URL, "box": {"z": [0, 9]}}]}}, "data.volumes.0.box: needs"),
    (
        {"data": {"volumes": [{"url": URL, "box": {"z": [9, 9], "y": [0, 9], "x": [0, 9]}}]}},
        "data.volumes.0.box.z: stop 9 is not above start 9",
    ),
    ({"data": {"intensity": {"mean": 1.0, "std": 0.0}}}, "data.intensity.std: "),
    ({"data": {"phantom": {"share": 1.0}}}, "data.phantom.share: "),
    ({"data": {"phantom": {"share": 0.5, "side": 8}}}, "data.phantom.side: 8 must be at least"),
    ({"training": {"sigma": [0.0, 30.0]}}, "training.sigma: [0.0, 30.0] must rise"),
    ({"training": {"sigma": [3.0, 0.1]}}, "training.sigma: [3.0, 0.1] must rise"),
    (
        {"training": {"sigma": [0.1, float("inf")]}},
        "training.sigma.1: input should be a valid number (it is 'Infinity')",
    ),
    ({"training": {"optimizer": "sgd"}}, "training.optimizer: "),
    ({"training": {"precision": "float16"}}, "training.precision: "),
    ({"training": {"patch": 17}}, "training.patch: 17 must be a multiple of 2"),
    ({"training": {"average": 1.0}}, "training.average: "),
    ({"network": {"convolutions": 3}}, "network.convolutions: 3 must be even"),
    ({"network": {"width": 10}}, "network.width: 10 must be a multiple of groups, 4"),
    ({"network": {"levels": 6}}, "training.patch: 16 must be a multiple of 32"),
    ({"devices": 0}, "devices: "),
    ({"validation": {"url": URL, "every": 0}}, "validation.every: "),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[m for _, m in BAD])
def test_a_mistake_is_one_line_that_names_the_field(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    data = training_data(URL, "out", **change)
    path = write_spec(tmp_path, data)
    with pytest.raises(SpecError) as caught:
        load_spec(path, TrainingSpec)
    assert f"{path}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["data", "output"])
def test_what_is_required_is_said_to_be(tmp_path: Path, name: str) -> None:
    data = training_data(URL, "out")
    del data[name]
    with pytest.raises(SpecError, match=f"{name}: required, and not there"):
        load_spec(write_spec(tmp_path, data), TrainingSpec)
