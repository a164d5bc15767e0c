"""What the site has beside docs/: the README, notebooks as pages, and equations without scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_config(config: MkDocsConfig) -> None:
    """Fences called `math`, which GitHub draws, too, become MathML: no script, no font."""
    fence = {"name": "math", "class": "math", "format": _equation}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}


def _equation(source: str, *_: Any, **__: Any) -> str:
    return f'<div class="equation">{convert(source, display="block")}</div>'


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Pages that are made of files outside of docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=_moved((ROOT / name).read_text("utf-8"))))
    for path in sorted((ROOT / "examples").rglob("*")):
        if path.suffix in SHOWN:
            page = path.relative_to(ROOT).with_suffix(".md").as_posix()
            files.append(File.generated(config, page, content=SHOWN[path.suffix](path)))


def _moved(text: str) -> str:
    """Its links, seen from the root of the repository, as they are among the pages."""

    def link(found: re.Match[str]) -> str:
        path = PAGES.get(found[1], found[1].removeprefix("docs/"))
        return f"]({re.sub(r'[.](ipynb|py|toml)$', '.md', path)}"

    return LINK.sub(link, text)


def _notebook(path: Path) -> str:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    shown = {"markdown": "{}", "code": "```python\n{}\n```"}
    parts = [shown[cell["cell_type"]].format("".join(cell["source"])) for cell in cells]
    return _moved("\n\n".join([*parts, f"*This page is the notebook `examples/{path.name}`.*"]))


def _code(path: Path) -> str:
    text = path.read_text("utf-8")
    return f"# {path.relative_to(ROOT)}\n\n```{path.suffix[1:]}\n{text}```\n"


SHOWN = {".ipynb": _notebook, ".py": _code, ".toml": _code}  # of examples/


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from the network; call modules by what is imported."""
    if found := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri} loads from the network: {found[0]}")
    return output.replace("<code>build/links/ddgm/", "<code>ddgm/")
