"""IMOD's tilt.com: how its `tilt` was told to reconstruct."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ddgm.pipeline.importing.imod import Transform
from ddgm.pipeline.importing.text_files import (
    ImportFault,
    lines_of,
    numbered_list,
    numbers,
    rows_of,
)

# what makes a slice of several rows of the views, or bends it
REFUSED = {
    "LOCALFILE": "align without local alignments",
    "ZFACTORFILE": "align without stretching along the beam",
    "XTILTFILE": "set all tilts about x to 0",
    "XAXISTILT": "set it to 0, and give a --thickness that holds the tilted slab",
}


@dataclass(frozen=True)
class TiltCom:
    """The place of a slab, as a tilt.com has it; lengths in pixels of the unbinned stack.

    Attributes:
        projections: name of the aligned stack.
        binned: the aligned stack's binning.
        thickness: of the slab; None: not said.
        offset: degrees that are added to all angles.
        axis: by how much the tilt axis is right of the views' centre.
        shift: by how much the reconstruction is moved along x, and along z.
        excluded: views that are left out, counted from 0.
        log: what is added before the logarithm is taken; None: no logarithm.
    """

    projections: str = ""
    binned: int = 1
    thickness: float | None = None
    offset: float = 0.0
    axis: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    excluded: frozenset[int] = frozenset()
    log: float | None = None

    def moved(self, transform: Transform, angle: float) -> Transform:
        """A transform that puts the slab's centre where `tilt` puts it.

        Args:
            transform: of a view.
            angle: of its tilt with the offset, in degrees.
        """
        theta = math.radians(angle)
        x, z = self.shift
        more = x * math.cos(theta) - z * math.sin(theta) - self.axis
        return (*transform[:4], transform[4] + more, transform[5])


def read_tilt_com(path: Path) -> TiltCom:
    """The settings of a tilt.com.

    Raises:
        ImportFault: it is not there, is wrong, or asks for what is not done.
    """
    found = TiltCom()
    names: list[str] = []
    for number, line in enumerate(_entries(path), 1):
        words = line.split()
        if not words or words[0][0] in "#$":
            continue
        key = words[0].upper()
        _refuse(path, number, key, words[1:])
        if key in ("INPUTPROJECTIONS", "INPUTFILE"):
            names.insert(0, words[-1])
        elif len(words) == 1 and "." in key:  # older files have the two names alone
            names.append(words[0])
        elif key in ("EXCLUDELIST", "EXCLUDELIST2", "EXCLUDE") and len(words) > 1:
            views = frozenset(numbered_list(path, number, ",".join(words[1:])))
            found = replace(found, excluded=found.excluded | views)
        elif key in _NUMBERS and len(words) > 1:
            found = replace(found, **_NUMBERS[key](numbers(path, number, _split(words[1:]))))
    return replace(found, projections=names[0] if names else "")


_NUMBERS = {
    "IMAGEBINNED": lambda n: {"binned": max(1, int(n[0]))},
    "THICKNESS": lambda n: {"thickness": n[0]},
    "OFFSET": lambda n: {"offset": n[0], "axis": n[1] if len(n) > 1 else 0.0},
    "SHIFT": lambda n: {"shift": (n[0], n[1] if len(n) > 1 else 0.0)},
    "LOG": lambda n: {"log": n[0]},
}


def _split(words: Sequence[str]) -> list[str]:
    return " ".join(words).replace(",", " ").split()


def _entries(path: Path) -> list[str]:
    """The lines up to DONE, behind which unused ones are parked."""
    entries = []
    for line in lines_of(path):
        if line.strip().upper() == "DONE":
            break
        entries.append(line)
    return entries


def _refuse(path: Path, number: int, key: str, values: Sequence[str]) -> None:
    """Raise where a setting that is not followed would change the reconstruction."""
    if key not in REFUSED or not values:
        return
    if key == "XAXISTILT" and not numbers(path, number, values[:1])[0]:
        return
    if key == "XTILTFILE":
        file = path.with_name(values[0])
        if not file.exists() or not any(row[0] for row in rows_of(file, 1, "a file of tilts")):
            return
    fault = f"{path}, line {number}: {key} {' '.join(values)} is not followed"
    raise ImportFault(f"{fault}; in IMOD, {REFUSED[key]}, and import again")
