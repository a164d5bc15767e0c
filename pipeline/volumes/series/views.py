"""The table of a series' views, one line a view: its tilt, alignment, grey levels and noise."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ddgm.core.files import atomic_write
from ddgm.pipeline.volumes.volume import SourceError

STEEPEST = 85.0  # degrees


@dataclass(frozen=True)
class View:
    """One view of a tilt series; its fields are the table's columns.

    Attributes:
        view: its place in the stack, from 0.
        angle: of the tilt, in degrees.
        use: 1, or 0 where it is left out.
        a11, a12, a21, a22, dx, dy: IMOD's transform from the raw view to the aligned one, in
            pixels of the raw stack: X' = A (X - Xc) + D + Xc'.
        gain, offset: measured = gain · (A x) + offset, with x as the prior has it (mean 0 and
            standard deviation 1) and A as the projector has it, in voxels along the beam.
        noise: standard deviation of (measured - offset) / gain, of a binned pixel.
    """

    view: int
    angle: float
    use: int = 1
    a11: float = 1.0
    a12: float = 0.0
    a21: float = 0.0
    a22: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 1.0

    @property
    def determinant(self) -> float:
        """The transform's change of area."""
        return self.a11 * self.a22 - self.a12 * self.a21

    @property
    def stretch(self) -> float:
        """Pixels of the detector to a bin of the slab's own grid: the cosine of the tilt."""
        return math.cos(math.radians(self.angle))


COLUMNS = tuple(field.name for field in fields(View))
WHOLE = ("view", "use")  # columns of whole numbers


def read_views(path: Path) -> tuple[View, ...]:
    """The views of a table, checked.

    Raises:
        SourceError: it is not there or wrong; names the line, the column and the remedy.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        fault = f"table of views {path}: there is no such file; `ddgm import STACK` writes one"
        raise SourceError(fault, "not_found") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"table of views {path}: cannot be read ({error})", "corrupt") from error
    lines = [
        (number, line)
        for number, line in enumerate(csv.reader(io.StringIO(text)), 1)
        if any(cell.strip() for cell in line) and not line[0].lstrip().startswith("#")
    ]
    heading = [cell.strip() for cell in lines[0][1]] if lines else []
    if sorted(heading) != sorted(COLUMNS):
        wrong = [f"no column {name}" for name in COLUMNS if name not in heading]
        wrong += [f"an unknown column {name!r}" for name in heading if name not in COLUMNS]
        fault = wrong[0] if wrong else "a column twice"
        remedy = f"its first line must be {','.join(COLUMNS)}"
        raise SourceError(f"table of views {path}: {fault}; {remedy}", "unsupported")
    views = tuple(_view(path, number, heading, cells) for number, cells in lines[1:])
    for (number, _), view, place in zip(lines[1:], views, range(len(views)), strict=True):
        if view.view != place:
            remedy = f"give every view of the stack one line, in order: {place} comes here"
            raise _wrong(path, number, "view", view.view, remedy)
    if sum(view.use for view in views) < 2:
        fault = f"table of views {path}: uses {sum(view.use for view in views)} views"
        raise SourceError(f"{fault}; set `use` to 1 for at least two", "unsupported")
    return views


def read_remarks(path: Path) -> tuple[str, ...]:
    """Remarks of a table of views: its lines that begin with #.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
    """
    lines = path.read_text("utf-8-sig").splitlines()
    return tuple(line.lstrip("# ") for line in lines if line.startswith("#"))


def write_views(path: Path, views: Sequence[View], remarks: Sequence[str] = ()) -> None:
    """Write a table of views, with remarks in lines that begin with #."""
    text = io.StringIO()
    text.writelines(f"# {' '.join(remark.split())}\n" for remark in remarks)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([f"{value:.9g}" for value in astuple(view)] for view in views)
    atomic_write(path, text.getvalue().encode())


def _view(path: Path, number: int, heading: Sequence[str], cells: Sequence[str]) -> View:
    if len(cells) != len(heading):
        fault = f"table of views {path}, line {number}: {len(cells)} values"
        raise SourceError(f"{fault}; give {len(heading)}, one a column", "unsupported")
    values = dict(zip(heading, cells, strict=True))
    found = {name: _number(path, number, name, values[name]) for name in COLUMNS}
    checks = {
        "use": (found["use"] in (0, 1), "give 1, or 0 to leave the view out"),
        "angle": (
            not found["use"] or abs(found["angle"]) <= STEEPEST,
            f"give degrees from -{STEEPEST:g} to {STEEPEST:g}, or leave the view out by use: 0",
        ),
        "gain": (found["gain"] != 0, "give a number above 0, or below it for inverted contrast"),
        "noise": (found["noise"] > 0, "give a standard deviation above 0"),
    }
    for name, (holds, remedy) in checks.items():
        if not holds:
            raise _wrong(path, number, name, values[name], remedy)
    view = View(int(found.pop("view")), found.pop("angle"), int(found.pop("use")), **found)
    if not 0.25 <= abs(view.determinant) <= 4:
        matrix = " ".join(f"{a:g}" for a in (view.a11, view.a12, view.a21, view.a22))
        remedy = "give a rotation, at most twice as large or small"
        raise _wrong(path, number, "a11,a12,a21,a22", matrix, remedy)
    return view


def _number(path: Path, number: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name in WHOLE and value != int(value)):
        kind = "a whole number" if name in WHOLE else "a number"
        raise _wrong(path, number, name, text, f"give {kind}")
    return value


def _wrong(path: Path, number: int, column: str, value: object, remedy: str) -> SourceError:
    where = f"table of views {path}, line {number}, column {column}"
    return SourceError(f"{where}: {str(value)[:40]!r}; {remedy}", "unsupported")
