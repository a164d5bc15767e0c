"""A page in a headless Chromium: what a script finds there."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.view.browser import find_browser, headless

needs_chromium = pytest.mark.skipif(find_browser() is None, reason="needs Chromium")
ANSWER = re.compile(r'<pre id="answer">(.*?)</pre>', re.DOTALL)


def asked(page: Path, script: str, width: int, dark: bool, scratch: Path) -> Any:
    """What a script resolves to, at the end of a page that is so many pixels wide.

    Args:
        page: an HTML file.
        script: statements of an async function that returns what JSON can hold.
        width: of the window.
        dark: whether the reader prefers a dark page.
        scratch: an empty folder for this test.
    """
    browser = find_browser()
    assert browser is not None
    tell = (
        "const found = await answer(); const e = document.createElement('pre'); e.id = 'answer'; "
        "e.textContent = JSON.stringify(found); document.body.append(e)"
    )
    script = (
        f"<script>(async () => {{ const answer = async () => {{ {script} }}; {tell} }})()</script>"
    )
    copy = scratch / "page.html"
    copy.write_text(page.read_text("utf-8").replace("</body>", f"{script}</body>"), "utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    flags = [*headless(str(scratch / "profile")), scheme, f"--window-size={width},900"]
    command = [browser, *flags, "--virtual-time-budget=60000", "--dump-dom", copy.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = ANSWER.search(shown.stdout)
    assert found is not None, shown.stderr
    return json.loads(html.unescape(found[1]))
