"""Pictures of voxels as the page shows them: pixels in PNGs; titles, scales and colours in HTML."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib
import numpy as np
from PIL import Image

from ddgm.pipeline.figures import Panel, scale_bar

WIDEST = 1900  # pixels of a picture; a larger one is made smaller by means
SHARP = 256  # pixels to a side up to which a browser does not smooth them
LEAST, MOST = (160, 110), 260  # dots on the page: width and height at least, height at most
PAGE, BETWEEN = 1112, 19  # dots: the width of the page, and from picture to picture

Side = Literal["left", "top"]


@dataclass(frozen=True)
class Mark:
    """A line at a place of a picture, as a share of its side from the left or from the top.

    A `point` and a `join` are short and beside the picture, an `edge` goes through it.
    """

    kind: Literal["point", "join", "edge"]
    side: Side
    share: float


@dataclass(frozen=True)
class Picture:
    """A panel on the page.

    Attributes:
        panel: its title, pixels and colours.
        unit: of its values.
        marks: lines in it and beside it.
    """

    panel: Panel
    unit: str = "grey levels"
    marks: Sequence[Mark] = ()

    @property
    def png(self) -> bytes:
        """The picture's pixels, and nothing else."""
        return pixels_png(self.panel)

    @property
    def sharp(self) -> bool:
        """True where its pixels are so few that each is to be seen."""
        return max(self.panel.image.shape) <= SHARP

    @property
    def alt(self) -> str:
        """Its values in words, for those who do not see them."""
        image = self.panel.image
        low, mean, high = (number(float(v)) for v in (image.min(), image.mean(), image.max()))
        rows, columns = image.shape
        return f"{rows:,} × {columns:,} values from {low} to {high} {self.unit}, mean {mean}"


@dataclass(frozen=True)
class Key:
    """A colour bar: its pixels, and what its ends stand for."""

    png: bytes
    low: str
    high: str


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side where there is room, with one scale bar and their colour bars.

    Attributes:
        pictures: in their order.
        caption: of all of them.
        pixel_nm: sides of a pixel, (down, right).
    """

    pictures: Sequence[Picture]
    caption: str
    pixel_nm: tuple[float, float]

    def proportions(self, picture: Picture) -> float:
        """Width over height of a picture."""
        rows, columns = picture.panel.image.shape
        return columns * self.pixel_nm[1] / (rows * self.pixel_nm[0])

    @property
    def narrowest(self) -> int:
        """Dots of width that a picture needs, or that of the page where not all fit beside others.

        So there is one row of all, or one picture to a row, whatever the width of the screen.
        """
        widest = max(self.proportions(picture) for picture in self.pictures)
        wanted, count = max(LEAST[0], round(LEAST[1] * widest)), len(self.pictures)
        return wanted if count * (wanted + BETWEEN) - BETWEEN <= PAGE else PAGE

    @property
    def widest(self) -> int:
        """Dots of width of a row of all pictures, above which they would be too high."""
        wanted = MOST * max(self.proportions(picture) for picture in self.pictures)
        return round(len(self.pictures) * (wanted + BETWEEN) - BETWEEN)

    @property
    def scale(self) -> tuple[float, str]:
        """The scale bar of the last picture: its length as a share of the width, and in words."""
        width_nm = self.pictures[-1].panel.image.shape[1] * self.pixel_nm[1]
        nm, text = scale_bar(width_nm)
        return nm / width_nm, text

    @property
    def keys(self) -> list[Key]:
        """A colour bar for all pictures of the same colours and values."""
        alike: dict[tuple[str, tuple[float, float], str], list[np.ndarray]] = {}
        for p in self.pictures:
            alike.setdefault((p.panel.colours, p.panel.window, p.unit), []).append(p.panel.image)
        return [_key(*what, images) for what, images in alike.items()]


def _key(colours: str, window: tuple[float, float], unit: str, images: Sequence[np.ndarray]) -> Key:
    ramp = Panel("", np.arange(256.0)[None], (0.0, 255.0), colours)
    below = "≤ " if min(float(i.min()) for i in images) < window[0] else ""
    above = "≥ " if max(float(i.max()) for i in images) > window[1] else ""
    low, high = (number(v) for v in window)
    return Key(pixels_png(ramp), below + low, f"{above}{high} {unit}".replace(" ", "\u00a0"))


def pixels_png(panel: Panel) -> bytes:
    """The pixels of a panel in its colours, one dot each unless that is too many."""
    low, high = panel.window
    rows, columns = panel.image.shape
    values = Image.fromarray(panel.image.astype(np.float32))
    if max(rows, columns) > WIDEST:
        size = min(columns, WIDEST), min(rows, WIDEST)
        values = values.resize(size, Image.Resampling.BOX)
    shares = (np.asarray(values) - low) / ((high - low) or 1.0)
    picture = Image.fromarray((255 * shares.clip(0, 1)).round().astype(np.uint8))
    colours = 255 * matplotlib.colormaps[panel.colours](np.arange(256))[:, :3]  # `bytes` truncates
    picture.putpalette(colours.round().astype(np.uint8).tobytes())
    out = io.BytesIO()
    picture.save(out, "png", optimize=True)
    return out.getvalue()


def number(value: float) -> str:
    """A number as people write it: three digits, all of a large one, a real minus."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text.replace("-", "−")
