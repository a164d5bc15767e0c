"""A report in a headless Chromium: nothing overflows, and everybody can read it."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.chromium import asked, needs_chromium
from tests.pipeline.report.reported import change_manifest

axe = pytest.importorskip("axe_core_python")
pytestmark = [pytest.mark.process, needs_chromium]
LONG = "a_name_without_a_space_" * 12
OPEN = "document.querySelectorAll('details').forEach(d => d.open = true);"
OVERFLOW = """
    const inner = document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll("main *")].filter(
        e => e.getBoundingClientRect().right > inner
            || getComputedStyle(e).display != "inline" && e.scrollWidth > e.clientWidth + 1);
    return [innerWidth, wide.map(e => e.outerHTML.slice(0, 200))];
"""
BROKEN = """
    const broken = [], found = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (found.nextNode()) {
        const number = /(?<![\\w./-])[−]?\\d[\\d.,]*(\\s±\\s[\\d.]+)?(?![\\w/-])/g;
        for (const match of found.currentNode.data.matchAll(number)) {
            const range = document.createRange();
            range.setStart(found.currentNode, match.index);
            range.setEnd(found.currentNode, match.index + match[0].length);
            const lines = new Set([...range.getClientRects()].map(r => Math.round(r.top)));
            if (lines.size > 1) broken.push(match[0]);
        }
    }
    return broken;
"""
FILTERS = """
    const pictures = [...document.querySelectorAll(".picture img")], changed = [];
    for (const picture of pictures)
        for (let e = picture; e; e = e.parentElement) {
            const s = getComputedStyle(e);
            if (s.filter != "none" || s.opacity != 1) changed.push(e.tagName);
        }
    return [matchMedia("(prefers-color-scheme: dark)").matches, pictures.length > 0, changed];
"""
FINDINGS = (
    "const found = await axe.run();"
    "return [found.passes.length, found.violations.map("
    "  v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 200)).join(' '))];"
)


@pytest.fixture(scope="module")
def page(long: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with planes, joins, a failed block and long names."""
    root = shutil.copytree(long, tmp_path_factory.mktemp("browsed") / LONG[:200])

    def rename(manifest: dict[str, Any]) -> None:
        manifest["spec"]["source"]["url"] = f"precomputed://file:///{LONG}/{LONG}"
        manifest["weights"]["card"]["training"]["data"] = LONG

    store = RunStore(str(root))
    store.ledger.put(Record(3, store.manifest()["digest"], "failed", 3, cause=f"OSError: {LONG}"))
    change_manifest(str(root), rename)
    write_report(str(root))
    return root / "report.html"


@pytest.mark.parametrize("width", [600, 1400])
def test_nothing_is_wider_than_its_place(page: Path, width: int, tmp_path: Path) -> None:
    found = asked(page, OPEN + OVERFLOW, width, dark=False, scratch=tmp_path)
    assert found == [width, []]


def test_no_number_is_broken_on_a_small_screen(page: Path, tmp_path: Path) -> None:
    assert asked(page, OPEN + BROKEN, 600, dark=False, scratch=tmp_path) == []


def test_a_dark_theme_leaves_grey_levels_as_they_are(page: Path, tmp_path: Path) -> None:
    assert asked(page, FILTERS, 600, dark=True, scratch=tmp_path) == [True, True, []]


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(page: Path, dark: bool, tmp_path: Path) -> None:
    script = files(axe).joinpath("axe.min.js").read_text("utf-8")
    passed, findings = asked(page, f"{script}; {OPEN} {FINDINGS}", 600, dark, tmp_path)
    assert findings == []
    assert passed > 20
