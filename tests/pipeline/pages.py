"""What a browser sees of a page."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
from matplotlib.image import imread


class Page(HTMLParser):
    """A page as a browser would see it: its text, tables, images, and the tags it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text, self.tags, self.in_cell = html, "", [], False
        self.rows: list[list[str]] = []
        self.images: list[np.ndarray] = []
        self.links: list[str] = []
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data"):
                self.links.append(value or "")
        if tag == "img":
            self.images.append(decoded(base64.b64decode(self.links[-1].split("base64,")[1])))

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data

    def row(self, start: str) -> list[str]:
        """The cells of the one table row whose first cell begins so."""
        (found,) = [r for r in self.rows if r and r[0].startswith(start)]
        return found


def decoded(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")
