"""Documents: all that they name is there; the picture is the code's; docstrings stand alone."""

from __future__ import annotations

import ast
import re
import runpy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT, ROOT / "docs", ROOT / "docs/results"]
DOCUMENTS = [p for f in FOLDERS for p in sorted(f.glob("*.md")) if p.name != "CHANGELOG.md"]

PATH = re.compile(
    r"(?<![\w/.-])(?:pipeline|workers|ddgm_core|deploy|tests|benchmarks|docs)/[\w./-]*\w"
)
MODULE = re.compile(
    r"\b(?:ddgm\.(?:core|deploy|pipeline|workers)|benchmarks)\b(?:\.[a-z_][a-z_0-9]*)+"
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")


def missing_paths(text: str) -> list[str]:
    """A module may be named without its suffix."""
    named = {m.group() for m in PATH.finditer(text)}
    return sorted(p for p in named if not any((ROOT / f"{p}{s}").exists() for s in ("", ".py")))


def missing_modules(text: str) -> list[str]:
    named = {m.group() for m in MODULE.finditer(text)}
    return sorted(name for name in named if not exists(name))


def exists(name: str) -> bool:
    """True of a module, and of what one holds."""
    try:
        if find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass
    module, _, inner = name.rpartition(".")
    try:
        return bool(module) and hasattr(import_module(module), inner)
    except ModuleNotFoundError:
        return False


def missing_links(document: Path) -> list[str]:
    """Links to files that are not there, or to sections that they do not have."""
    found = []
    for path, section in LINK.findall(document.read_text()):
        target = (document.parent / path) if path else document
        if not target.exists() or (section and section not in sections(target)):
            found.append(f"{path}#{section}")
    return found


def sections(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.*)$", document.read_text())
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_all_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    assert missing_paths(text) == []
    assert missing_modules(text) == []
    assert missing_links(document) == []


def test_what_is_not_there_is_found() -> None:
    text = "see pipeline/none.py, workers/urls, `python -m benchmarks.none` and ddgm.core.errors"
    assert missing_paths(text) == ["pipeline/none.py"]
    assert missing_modules(text) == ["benchmarks.none"]
    text = "::: ddgm.core.methods.samplers.ddx and ddgm.core.methods.samplers.none"
    assert missing_modules(text) == ["ddgm.core.methods.samplers.none"]


@pytest.mark.long
def test_the_readmes_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text())
    assert len(example.splitlines()) <= 10
    exec(example, {})
    mse, ssim = map(float, capsys.readouterr().out.split())
    assert mse < 0.2
    assert ssim > 0.5


def test_the_picture_of_the_rooms_is_that_of_the_code() -> None:
    """Where this fails, draw it anew with `python docs/architecture.py`, and look at it."""
    drawn = runpy.run_path(str(ROOT / "docs/architecture.py"))["svg"]()
    assert (ROOT / "docs/architecture.svg").read_text() == drawn


# They go on from a function's name, and say nothing without it
LEADS = ("What", "How", "Whether", "Where", "Of", "That", "As", "Who", "Which", "With", "For", "By")


def public_docstrings(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    found = [ast.get_docstring(tree)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found += [ast.get_docstring(node)] if not node.name.startswith("_") else []
    return [text for text in found if text]


@pytest.mark.parametrize("room", ["ddgm_core", "workers", "pipeline", "deploy"])
def test_public_docstrings_stand_alone(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    found = {f"{f.relative_to(ROOT)}: {d}" for f in files for d in public_docstrings(f)}
    assert [d for d in sorted(found) if d.split(": ", 1)[1].split()[0] in LEADS] == []


def test_every_test_that_a_document_names_is_there() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"(?m)^def (test_\w+)\(", path.read_text())
    }
    for document in DOCUMENTS:
        named = set(re.findall(r"`(test_\w+)`", document.read_text()))
        assert sorted(named - there) == [], document
    assert "test_what_is_not_there" not in there


FOLDERS = "benchmarks", "ddgm_core", "deploy", "examples", "pipeline", "tests", "workers"


def test_files_and_folders_are_small_enough_to_be_seen_at_once() -> None:
    """At most 300 lines to a file, and 14 files of Python to a folder; see CONTRIBUTING.md."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 200
    assert [str(f) for f in files if len(f.read_text().splitlines()) > 300] == []
    folders = {file.parent for file in files}
    assert [str(f) for f in folders if len(list(f.glob("*.py"))) > 14] == []
