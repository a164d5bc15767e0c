"""Which folder a training may write into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.training.spec import TrainingSpec
from ddgm.pipeline.training.train import claim
from tests.pipeline.training.specs import trained, training_spec, volume

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("no_long_waits")]


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"training": {"lr": 0.5}}, "training.lr"),
    ({"training": {"seed": 1, "batch": 2}}, "training.batch, training.seed"),
    ({"network": {"width": 16}}, "network.width"),
    ({"data": {"origin": "elsewhere"}}, "data.origin"),
    ({"data": {"phantom": {"share": 0.5, "side": 16}}}, "data.phantom"),
    ({"validation": {"patches": 7}}, "validation.patches"),
]


@pytest.mark.parametrize(("change", "field"), OTHER, ids=[f for _, f in OTHER])
def test_a_folder_of_another_spec_is_kept(done: Path, change: dict[str, Any], field: str) -> None:
    spec = load_spec(done / "spec.yaml", TrainingSpec).model_dump(mode="json")
    for part, values in change.items():
        spec[part] = {**spec[part], **values}
    before = {p.name: p.read_bytes() for p in done.iterdir()}
    with pytest.raises(DdgmError, match=f"which differs in {field}; ") as caught:
        claim(done, TrainingSpec.model_validate(spec))
    assert str(caught.value).startswith(f"output: {done} holds a training of another spec")
    assert {p.name: p.read_bytes() for p in done.iterdir()} == before


def test_a_training_that_is_done_is_kept(done: Path) -> None:
    with pytest.raises(DdgmError, match="holds a training that is done"):
        trained(load_spec(done / "spec.yaml", TrainingSpec))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_is_kept(tmp_path: Path, kind: str) -> None:
    url = volume(tmp_path / "em")
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    note = out if kind == "file" else out / "notes.txt"
    note.write_text("mine")
    with pytest.raises(DdgmError, match=r"output: .* holds something else"):
        trained(training_spec(url, out))
    assert note.read_text() == "mine"


def test_a_spec_that_is_put_right_may_have_the_same_output(tmp_path: Path) -> None:
    url = volume(tmp_path / "em")
    for wrong in (
        training_spec(url, tmp_path / "out", training={"patch": 64}),
        training_spec(url, tmp_path / "out", validation={"url": f"{url}-not-there"}),
    ):
        with pytest.raises(DdgmError):
            trained(wrong)
        assert not (tmp_path / "out").exists()
    trained(training_spec(url, tmp_path / "out"))
