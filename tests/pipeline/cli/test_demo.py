"""The demo's folder: made anew where it is a demo's, and nobody else's file is ever removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.cli import demo
from ddgm.pipeline.cli.demo import make_demo
from ddgm.pipeline.spec.yaml_file import load_spec


@pytest.fixture(autouse=True)
def small_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SHAPE", (32, 64, 8))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_demo_is_made_anew_and_a_link_in_it_is_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("ten years")
    first = contents(make_demo(folder).parent)
    assert load_spec(folder / "demo.yaml").output.path == f"{folder}/run"
    (folder / "run").symlink_to(elsewhere)
    (folder / "phantom.npy").write_bytes(b"torn")
    make_demo(folder)
    assert contents(folder) == first
    assert (elsewhere / "thesis.txt").read_text() == "ten years"


@pytest.mark.parametrize("spec", ["", "source: {url: mine}\n", None])
def test_a_folder_with_somebodys_demo_yaml_is_kept(tmp_path: Path, spec: str | None) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/thesis.txt").write_text("ten years")
    if spec is not None:
        (tmp_path / "demo.yaml").write_text(spec)
    before = contents(tmp_path)
    with pytest.raises(DdgmError, match=r"is no demo, and holds '(demo\.yaml|src)'"):
        make_demo(tmp_path)
    assert contents(tmp_path) == before


def test_what_was_put_beside_a_demo_is_named_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    make_demo(folder)
    (folder / "thesis.txt").write_text("ten years")
    before = contents(folder)
    with pytest.raises(DdgmError, match=r"'thesis\.txt', which is no part of a demo"):
        make_demo(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_the_current_folder_and_those_above_it_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DdgmError, match="holds the current folder"):
        make_demo(Path(folder))
    assert contents(tmp_path) == {}
