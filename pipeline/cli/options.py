"""Options that several commands share, from text to what is meant."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ddgm.core.errors import DdgmError

if TYPE_CHECKING:
    from ddgm.pipeline.volumes.box import Box

# typer reads the choices off the types: those of other rooms, without what these import
Detector = Literal["perpendicular", "lateral"]
Precision = Literal["float32", "bfloat16", "float8"]
Format = Literal["mrc", "tiff", "nrrd", "npy"]


def run_folder(text: str) -> str:
    """The folder of a run that is named by its folder, or by its spec."""
    if not os.path.isfile(text):
        return text
    from ddgm.pipeline.spec.yaml_file import load_spec

    return load_spec(Path(text)).output.path


Run = Annotated[
    str, typer.Argument(metavar="RUN", help="a run's folder, or its spec", callback=run_folder)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="print one JSON object, in bytes, seconds and nm")
]
OtherVersions = Annotated[
    bool,
    typer.Option(
        "--other-versions",
        help="resume a run that was begun with another torch, ASTRA, numpy or scipy",
    ),
]


def parsed_degrees(text: str) -> tuple[float, float]:
    """The first tilt and the last, from FIRST,LAST."""
    numbers = re.fullmatch(r"(-?\d+\.?\d*),(-?\d+\.?\d*)", text)
    if numbers is None:
        raise DdgmError(f"--degrees: {text!r} must be FIRST,LAST, as in -60,60")
    return float(numbers[1]), float(numbers[2])


def parsed_box(text: str | None) -> Box | None:
    """A box from z0:z1,y0:y1,x0:x1, and none from none."""
    from ddgm.pipeline.volumes.box import Box

    if text is None:
        return None
    numbers = re.fullmatch(r"(-?\d+):(-?\d+),(-?\d+):(-?\d+),(-?\d+):(-?\d+)", text)
    if numbers is None:
        raise DdgmError(f"--box: {text!r} must be z0:z1,y0:y1,x0:x1, as in 0:128,0:512,0:512")
    z0, z1, y0, y1, x0, x1 = map(int, numbers.groups())
    return Box((z0, y0, x0), (z1, y1, x1))
