"""AreTomo's .aln: angles and alignments of the views that it kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ddgm.pipeline.importing.imod import Transform
from ddgm.pipeline.importing.text_files import ImportFault, lines_of, numbers


@dataclass(frozen=True)
class Aln:
    """A series as an .aln has it.

    Attributes:
        size: columns, rows and views of the stack that was aligned; None: not said.
        views: angle in degrees, with the tilt's offset in it, and transform as an .xf has it,
            by the view's place in the stack, from 0. Views that are not in it were dark.
        local: True where patches were aligned by themselves, too.
    """

    size: tuple[int, int, int] | None
    views: Mapping[int, tuple[float, Transform]]
    local: bool = False


def read_aln(path: Path) -> Aln:
    """The alignment of the views of an .aln.

    AreTomo moves the sample into the image, IMOD the image into the sample: with the rotation R
    of the axis, A = R(-ROT) and D = -A T.

    Raises:
        ImportFault: it is not there, is wrong, or tilts the slab about x.
    """
    size, patches = None, 0.0
    views: dict[int, tuple[float, Transform]] = {}
    for number, line in enumerate(lines_of(path), 1):
        words = line.replace("=", " = ").split()
        if line.startswith("#"):
            key, values = " ".join(words[1:2]), words[3:]
            if key == "RawSize":
                columns, rows, count = map(int, numbers(path, number, values, 3)[:3])
                size = columns, rows, count
            elif key == "NumPatches":
                patches = numbers(path, number, values)[0]
            elif key == "BetaOffset" and numbers(path, number, values)[0]:
                fault = f"{path}, line {number}: BetaOffset {values[0]} is not followed"
                remedy = "align with AreTomo's -TiltCor -1, and import again"
                raise ImportFault(f"{fault}; {remedy}")
            elif key == "Local":
                break
        elif words:
            if len(words) != 10:
                fault = f"{path}, line {number}: {len(words)} values where an .aln has 10"
                raise ImportFault(f"{fault}; give the right file")
            section, rot, _, x, y, *_, angle = numbers(path, number, words)
            views[int(section)] = angle, _transform(rot, x, y)
    if not views:
        raise ImportFault(f"{path}: no view is in it; give the right file")
    first = 0 if 0 in views else 1  # AreTomo3 counts from 1, AreTomo 1 from 0
    return Aln(size, {place - first: view for place, view in views.items()}, patches > 0)


def _transform(rot: float, x: float, y: float) -> Transform:
    c, s = math.cos(math.radians(rot)), math.sin(math.radians(rot))
    return c, s, -s, c, -(c * x + s * y), s * x - c * y
