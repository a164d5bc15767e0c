"""IMOD's files of angles (.tlt, .rawtlt), transforms (.xf) and etomo's settings (.edf)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ddgm.pipeline.importing.text_files import (
    ImportFault,
    lines_of,
    numbered_list,
    numbers,
    rows_of,
)

Transform = tuple[float, float, float, float, float, float]  # a11, a12, a21, a22, dx, dy


@dataclass(frozen=True)
class Etomo:
    """A series as an .edf has it.

    Attributes:
        rotation: of the tilt axis, in degrees from the columns, counterclockwise; None: not said.
        excluded: views that are left out, counted from 0.
        pixel_nm: side of a pixel; None: not said.
    """

    rotation: float | None = None
    excluded: frozenset[int] = frozenset()
    pixel_nm: float | None = None


def read_angles(path: Path) -> list[float]:
    """The angles of a .tlt or .rawtlt, in degrees.

    Raises:
        ImportFault: it is not there, or wrong.
    """
    return [row[0] for row in rows_of(path, 1, "a file of angles")]


def read_xf(path: Path) -> list[Transform]:
    """The transforms of an .xf, one a view: from the raw view to the aligned one.

    Raises:
        ImportFault: it is not there, or wrong.
    """
    rows = rows_of(path, 6, "an .xf")
    return [(a11, a12, a21, a22, dx, dy) for a11, a12, a21, a22, dx, dy in rows]


def read_edf(path: Path) -> Etomo:
    """Axis A's settings of an .edf.

    Raises:
        ImportFault: it is not there, or wrong.
    """
    rotation, pixel, excluded = None, None, frozenset()
    for number, line in enumerate(lines_of(path), 1):
        key, _, value = (part.strip() for part in line.partition("="))
        if not value:
            continue
        if key == "Setup.ImageRotationA":
            rotation = numbers(path, number, [value])[0]
        elif key == "Setup.PixelSize":
            pixel = numbers(path, number, [value])[0]
        elif key == "Setup.AxisA.ExcludeProjections":
            excluded = frozenset(numbered_list(path, number, value))
        elif key == "Setup.AxisType" and value != "Single Axis":
            remedy = "import each axis by itself, with --angles and --xf"
            raise ImportFault(f"{path}, line {number}: {value.lower()} is not read; {remedy}")
    return Etomo(rotation, excluded, pixel if pixel else None)
