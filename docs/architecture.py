"""Draw architecture.svg from the code: the rooms, their files, and who imports whom.

python docs/architecture.py
"""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOLDERS = {"ddgm.core": "ddgm_core", "ddgm": "pipeline/api"}  # others have their own names

Arrow = tuple[str, str]  # who imports whom


def layers() -> list[list[str]]:
    """The rooms, top to bottom, as `.importlinter` has them; the files of `import ddgm` are one."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    lines = config["importlinter:contract:rooms"]["layers"].split("\n")
    floors = [[room.strip() for room in line.split("|")] for line in lines if line.strip()]
    return [["ddgm"], *(rooms for rooms in floors if folder(rooms[0]).exists())]


def folder(room: str) -> Path:
    """Folder, or file, of a room."""
    path = ROOT / FOLDERS.get(room, room.removeprefix("ddgm.").replace(".", "/"))
    return path if path.is_dir() else path.with_suffix(".py")


def sources(room: str) -> list[Path]:
    path = folder(room)
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports, within functions, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows() -> set[Arrow]:
    """Every import between two rooms."""
    rooms = [room for layer in layers() for room in layer]
    return {
        (room, other)
        for room in rooms
        for path in sources(room)
        for name in imported(path)
        for other in rooms
        if other not in (room, "ddgm") and f"{name}.".startswith(f"{other}.")
    }


def direct(arrows: set[Arrow]) -> set[Arrow]:
    """The arrows without those that a way through other rooms implies."""

    def reached(start: str, without: Arrow) -> set[str]:
        found, new = set[str](), {start}
        while new:
            new = {b for a, b in arrows if a in new and (a, b) != without} - found
            found |= new
        return found

    return {arrow for arrow in arrows if arrow[1] not in reached(arrow[0], arrow)}


def on_workers(arrows: set[Arrow]) -> set[str]:
    """Rooms whose code runs in Dask's workers: all that a block's stages import."""
    found, new = set[str](), {"ddgm.pipeline.block"}
    while new:
        found |= new
        new = {b for a, b in arrows if a in new} - found
    return found


WIDTH, GAP, MARGIN, LINE = 980, 34, 16, 12
COLUMN = 210  # width of a room that is alone on its floor
BROAD = {"ddgm": 948, "ddgm.pipeline.cli": 868, "ddgm.workers": 868, "ddgm.core": 948}
CLEAR = 6  # between an arrow and the boxes that it passes


class Box(NamedTuple):
    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2

    @property
    def bottom(self) -> float:
        return self.top + self.height


STYLE = """
  text { font-family: sans-serif; fill: #243b53; }
  .name { font-size: 14px; font-weight: 600; }
  .files { font-size: 10.5px; fill: #52606d; }
  .driver { fill: #ffffff; stroke: #4a6785; }
  .worker { fill: #e3eef9; stroke: #4a6785; }
  .arrow { stroke: #829ab1; stroke-width: 1.3; fill: none; marker-end: url(#tip); }
"""
LEGEND = (
    "Blue rooms run in workers, too; white ones only in the driver. "
    "Arrows are imports; those that others imply are left out."
)


def contents(room: str) -> list[str]:
    """Files and folders of a room by name."""
    path = folder(room)
    if not path.is_dir():
        return []
    found = {p.stem for p in path.glob("*.py")} | {
        p.parent.name for p in path.glob("*/__init__.py")
    }
    return sorted(name for name in found if not name.startswith("__"))


def places() -> dict[str, Box]:
    """The boxes of the rooms, floor by floor."""
    found: dict[str, Box] = {}
    top = float(MARGIN)
    for rooms in layers():
        alone = len(rooms) == 1
        width = (
            BROAD.get(rooms[0], COLUMN) if alone else (WIDTH - 2 * MARGIN + 20) / len(rooms) - 20
        )
        left = (WIDTH - width) / 2 if alone else MARGIN
        height = 34 + LINE * max(len(wrapped(contents(room), width)) for room in rooms)
        for i, room in enumerate(rooms):
            found[room] = Box(left + i * (width + 20), top, width, height)
        top += height + GAP
    return found


def path(start: Box, end: Box, boxes: list[Box]) -> str:
    """An arrow down from a box to another, past all boxes between."""
    passed = [box for box in boxes if start.top < box.top < end.top]
    wanted = end.middle if start.width > 2 * end.width else start.middle
    wanted += (end.middle > start.middle) / 2  # of two lanes as near, the one on the other's side
    lanes = sorted(range(WIDTH), key=lambda x: abs(x - wanted))
    lane = next(x for x in lanes if all(abs(x - b.middle) > b.width / 2 + CLEAR for b in passed))
    to = min(max(lane, end.left + 15), end.left + end.width - 15)
    if abs(lane - start.middle) < start.width / 2:
        begin = f"M{lane} {start.bottom:.0f}"
    else:  # out of its side
        side = start.left + start.width * (lane > start.middle)
        begin = f"M{side:.0f} {start.top + start.height / 2:.0f}H{lane}"
    return f"{begin}V{end.top - GAP / 2:.0f}H{to:.0f}V{end.top:.0f}"


def wrapped(names: list[str], width: float) -> list[str]:
    """Lines of names that fit a width in pixels."""
    lines = [""]
    for name in names:
        longer = f"{lines[-1]}, {name}" if lines[-1] else name
        if len(longer) * 5.6 > width - 24:
            lines.append(name)
        else:
            lines[-1] = longer
    return lines


def svg() -> str:
    """The picture as text, the same for the same code."""
    at, every = places(), arrows()
    workers = on_workers(every)
    height = max(box.bottom for box in at.values()) + 2 * MARGIN
    parts = [
        f"<style>{STYLE}</style>",
        MARKER,
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>',
    ]
    for a, b in sorted(direct(every)):
        parts.append(f'<path class="arrow" d="{path(at[a], at[b], [*at.values()])}"/>')
    for room, box in at.items():
        kind, left = ("worker" if room in workers else "driver"), box.left + 12
        shape = f'x="{box.left:.0f}" y="{box.top:.0f}" width="{box.width:.0f}"'
        parts.append(f'<rect class="{kind}" {shape} height="{box.height:.0f}" rx="5"/>')
        parts.append(
            f'<text class="name" x="{left:.0f}" y="{box.top + 20:.0f}">{title(room)}</text>'
        )
        for i, line in enumerate(wrapped(contents(room), box.width)):
            y = box.top + 35 + LINE * i
            parts.append(f'<text class="files" x="{left:.0f}" y="{y:.0f}">{line}</text>')
    parts.append(f'<text class="files" x="{MARGIN}" y="{height - 10:.0f}">{LEGEND}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}">'
    return "\n".join([head, *parts, "</svg>", ""])


def title(room: str) -> str:
    return str(folder(room).relative_to(ROOT))


MARKER = """<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"
 markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="#829ab1"/></marker></defs>"""


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(svg())
