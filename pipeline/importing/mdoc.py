"""SerialEM's .mdoc: what the microscope wrote of each view as it took it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ddgm.pipeline.importing.text_files import ImportFault, lines_of, numbers

AXIS = re.compile(r"tilt axis (?:angle|rotation)\s*=\s*(-?[\d.]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Mdoc:
    """A series as an .mdoc has it.

    Attributes:
        angles: in degrees, in the order of the stack.
        pixel_nm: side of a pixel; None: not said.
        axis: the tilt axis's rotation from the columns, in degrees; None: not said.
    """

    angles: tuple[float, ...]
    pixel_nm: float | None = None
    axis: float | None = None


def read_mdoc(path: Path) -> Mdoc:
    """Angles, pixels and axis of an .mdoc.

    Raises:
        ImportFault: it is not there, or wrong.
    """
    angles: dict[int, float] = {}
    view, pixel, axis = None, None, None
    for number, line in enumerate(lines_of(path), 1):
        key, _, value = (part.strip(" []\t") for part in line.partition("="))
        if key == "ZValue":
            view = int(numbers(path, number, [value])[0])
        elif key == "TiltAngle" and view is not None:
            angles[view] = numbers(path, number, [value])[0]
        elif key == "PixelSpacing":
            pixel = numbers(path, number, [value])[0] / 10
        elif key == "T" and (told := AXIS.search(line)):
            axis = numbers(path, number, [told[1]])[0]
    if sorted(angles) != list(range(len(angles))) or not angles:
        fault = f"{path}: no angle of every view from ZValue 0 on"
        raise ImportFault(f"{fault}; give the angles by --angles FILE")
    return Mdoc(tuple(angles[i] for i in range(len(angles))), pixel or None, axis)
