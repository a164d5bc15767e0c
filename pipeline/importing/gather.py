"""From what lies beside a stack to its table of views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ddgm.pipeline.importing.aretomo import Aln, read_aln
from ddgm.pipeline.importing.beside import Beside
from ddgm.pipeline.importing.imod import Etomo, Transform, read_angles, read_edf, read_xf
from ddgm.pipeline.importing.mdoc import Mdoc, read_mdoc
from ddgm.pipeline.importing.text_files import ImportFault
from ddgm.pipeline.importing.tilt_com import TiltCom, read_tilt_com
from ddgm.pipeline.volumes.series.stack import Stack
from ddgm.pipeline.volumes.series.views import STEEPEST, View


@dataclass
class Series:
    """A series as its files have it, before its pixels are looked at.

    Attributes:
        views: all of the stack, with grey levels as measured.
        pixel_nm: side of a raw pixel; None: nobody says.
        thickness: of the slab, in raw pixels; None: nobody says.
        log: True if IMOD took a logarithm of the views.
        axis: where the tilt axis's angle is from; None: it was not said, and is 0.
        found: what the files say, a line each.
        assumed: what they do not, a line each.
    """

    views: list[View]
    pixel_nm: float | None = None
    thickness: float | None = None
    log: bool = False
    axis: str | None = None
    found: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)


def gather(
    path: Path, stack: Stack, files: Beside, axis: float | None, exclude: Sequence[int]
) -> Series:
    """The views of a stack, from the files that say what they are.

    Args:
        path: of the stack.
        stack: itself.
        files: see `Beside`.
        axis: the tilt axis's angle from the columns, counterclockwise, in degrees; None: as the
            files have it.
        exclude: views that are left out, from 0.

    Raises:
        ImportFault: a file is missing or wrong, or does not belong to the stack.
    """
    aln = read_aln(files.aln) if files.aln else None
    com = read_tilt_com(files.tilt_com) if files.tilt_com else TiltCom()
    etomo = read_edf(files.edf) if files.edf else Etomo()
    mdoc = read_mdoc(files.mdoc) if files.mdoc else None
    series = Series([], log=com.log is not None, thickness=com.thickness)
    series.found += [f"read {file}" for file in files.all]
    angles = _angles(path, stack, files, aln, mdoc, series)
    transforms = _transforms(path, stack, files, aln, series)
    if transforms is None:
        transforms = [_rotation(_axis(axis, etomo, mdoc, files, series))] * len(angles)
    elif axis is not None:
        raise ImportFault(f"--axis {axis:g}: {series.axis} has the axis; leave out --axis")
    unit = com.binned if com.projections == path.name else 1
    com = replace(com, axis=com.axis / unit, shift=(com.shift[0] / unit, com.shift[1] / unit))
    if series.thickness is not None:
        series.thickness /= unit
    _note_tilt_com(files.tilt_com, com, series)
    left_out = {*exclude, *etomo.excluded, *com.excluded}
    if aln is not None:
        left_out |= {*range(len(angles))} - {*aln.views}
    for place, (angle, transform) in enumerate(zip(angles, transforms, strict=True)):
        angle += com.offset
        if abs(angle) > STEEPEST and place not in left_out:
            left_out.add(place)
            series.assumed.append(f"view {place + 1} is left out: {angle:g} degrees are too steep")
        moved = com.moved(transform, angle)
        series.views.append(View(place, angle, int(place not in left_out), *moved))
    if unknown := [place for place in left_out if place >= len(angles)]:
        counts = f"view {min(unknown) + 1} is to be left out, and {path} has {len(angles)}"
        raise ImportFault(f"{counts}; correct the list of excluded views, which counts from 1")
    if left_out:
        numbers = ", ".join(str(place + 1) for place in sorted(left_out))
        series.found.append(f"left out, counted from 1: {numbers}")
    series.pixel_nm = _pixel(path, stack, etomo, mdoc, files, series)
    return series


def _angles(
    path: Path, stack: Stack, files: Beside, aln: Aln | None, mdoc: Mdoc | None, series: Series
) -> list[float]:
    """The angle of each view; of those that AreTomo left out, 0."""
    count = stack.shape[0]
    if files.angles:
        found, source = read_angles(files.angles), files.angles
    elif aln is not None and files.aln:
        _check_size(path, stack, files.aln, aln)
        return [aln.views[place][0] if place in aln.views else 0.0 for place in range(count)]
    elif mdoc is not None and files.mdoc:
        found, source = list(mdoc.angles), files.mdoc
    else:
        what = "says that it is a volume, and " if stack.volume else ""
        remedy = "give the stack of views with --angles FILE, .tlt or .rawtlt"
        raise ImportFault(f"stack {path}: {what}no angles lie beside it; {remedy}")
    if len(found) != count:
        sizes = " x ".join(map(str, stack.shape))
        fault = f"{source}: {len(found)} angles, and stack {path} has {count} views ({sizes})"
        raise ImportFault(f"{fault}; give the angles of this stack by --angles FILE")
    if stack.volume:
        series.assumed.append("its header says volume, and there are angles: taken for a stack")
    return found


def _check_size(path: Path, stack: Stack, file: Path, aln: Aln) -> None:
    views, rows, columns = stack.shape
    size = aln.size or (columns, rows, views)
    if size != (columns, rows, views) or max(aln.views) >= views or min(aln.views) < 0:
        told = " x ".join(map(str, size))
        fault = f"{file}: is of {told} pixels and views, and stack {path} has {columns} x {rows}"
        raise ImportFault(f"{fault} x {views}; give the .aln of this stack")


def _transforms(
    path: Path, stack: Stack, files: Beside, aln: Aln | None, series: Series
) -> list[Transform] | None:
    """Where each view belongs, by an alignment; None where there is none."""
    count, rows, columns = stack.shape
    if aln is not None:
        series.axis = str(files.aln)
        if aln.local:
            series.assumed.append("AreTomo's local alignment is not used, but its global one is")
        still = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
        return [aln.views[place][1] if place in aln.views else still for place in range(count)]
    if files.xf is None:
        return None
    series.axis = str(files.xf)
    found = read_xf(files.xf)
    if len(found) != count:
        fault = f"{files.xf}: {len(found)} lines, and stack {path} has {count} views"
        raise ImportFault(f"{fault}; give the .xf of this stack by --xf FILE")
    for number, (*_, dx, dy) in enumerate(found, 1):
        if max(abs(dx), abs(dy)) > max(rows, columns):
            fault = f"{files.xf}, line {number}: moves a view of {columns} x {rows} pixels by "
            remedy = "give the .xf of this stack, in its own pixels"
            raise ImportFault(f"{fault}{dx:g}, {dy:g}, out of sight; {remedy}")
    return found


def _axis(
    given: float | None, etomo: Etomo, mdoc: Mdoc | None, files: Beside, series: Series
) -> float:
    """The tilt axis's angle, where no alignment has it."""
    told = (
        (given, "--axis"),
        (etomo.rotation, str(files.edf)),
        (mdoc and mdoc.axis, str(files.mdoc)),
    )
    for degrees, source in told:
        if degrees is not None:
            series.axis = source
            series.found.append(f"tilt axis: {degrees:g} degrees from the columns, by {source}")
            return degrees
    return 0.0


def _rotation(degrees: float) -> Transform:
    """The transform that turns an axis, which lies so far counterclockwise, to the columns."""
    c, s = (round(f(math.radians(degrees)), 12) for f in (math.cos, math.sin))  # 90: no 6e-17
    return c, s, -s, c, 0.0, 0.0


def turned(view: View, degrees: float) -> View:
    """A view whose axis lies so far counterclockwise from the columns."""
    a11, a12, a21, a22, *_ = _rotation(degrees)
    return replace(view, a11=a11, a12=a12, a21=a21, a22=a22)


def _note_tilt_com(path: Path | None, com: TiltCom, series: Series) -> None:
    if com.offset or com.axis or any(com.shift):
        x, z = com.shift
        moves = f"OFFSET {com.offset:g} {com.axis:g}, SHIFT {x:g} {z:g}"
        series.found.append(f"angles and slab are moved by {path}: {moves}")
    if com.log:
        fault = f"{path}: LOG {com.log:g} adds to the views before the logarithm"
        raise ImportFault(f"{fault}; add it to the stack itself, and give a tilt.com with LOG 0")


def _pixel(
    path: Path, stack: Stack, etomo: Etomo, mdoc: Mdoc | None, files: Beside, series: Series
) -> float | None:
    told = (
        (stack.pixel_nm, str(path)),
        (etomo.pixel_nm, str(files.edf)),
        (mdoc and mdoc.pixel_nm, str(files.mdoc)),
    )
    for size, source in told:
        if size:
            series.found.append(f"pixels of {size:.4g} nm, by {source}")
            return size
    return None
