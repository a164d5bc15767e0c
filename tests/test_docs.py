"""Documents: every file, module, link and section that they name is there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT, ROOT / "docs", ROOT / "docs/results"]
DOCUMENTS = [p for f in FOLDERS for p in sorted(f.glob("*.md")) if p.name != "CHANGELOG.md"]

PATH = re.compile(
    r"(?<![\w/.-])(?:pipeline|workers|ddgm_core|deploy|tests|benchmarks|docs)/[\w./-]*\w"
)
MODULE = re.compile(r"\b(?:ddgm\.(?:core|deploy|pipeline|workers)|benchmarks)\b(?:\.[a-z_]+)+")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")


def missing_paths(text: str) -> list[str]:
    """A module may be named without its suffix."""
    named = {m.group() for m in PATH.finditer(text)}
    return sorted(p for p in named if not any((ROOT / f"{p}{s}").exists() for s in ("", ".py")))


def missing_modules(text: str) -> list[str]:
    named = {m.group() for m in MODULE.finditer(text)}
    return sorted(name for name in named if not exists(name))


def exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
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
