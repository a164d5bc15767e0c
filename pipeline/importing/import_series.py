"""From a stack and what lies beside it to a table of views and a spec."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from ddgm.core import paper
from ddgm.core.files import create_whole
from ddgm.core.metrics.tissue import load_tissue
from ddgm.pipeline.importing.beside import find_beside, is_aligned
from ddgm.pipeline.importing.gather import Series, gather, turned
from ddgm.pipeline.importing.grey_levels import with_levels
from ddgm.pipeline.importing.look import PLAIN, Looked, across_over_along, look
from ddgm.pipeline.importing.request import Request
from ddgm.pipeline.importing.text_files import ImportFault
from ddgm.pipeline.spec.model import PriorSpec
from ddgm.pipeline.spec.yaml_file import check_spec
from ddgm.pipeline.volumes.series.stack import Stack, open_stack
from ddgm.pipeline.volumes.series.tilt_series import Signal, TiltSeries
from ddgm.pipeline.volumes.series.views import write_views

FITS = 1.25  # times the prior's voxel, or its share, to which tissue still looks alike


@dataclass(frozen=True)
class Imported:
    """The files that `import_series` wrote, and why.

    Attributes:
        spec, table: the files.
        found: what was read, a line each.
        assumed: what was not said, a line each.
    """

    spec: Path
    table: Path
    found: tuple[str, ...]
    assumed: tuple[str, ...]


def import_series(request: Request, progress: Callable[[int, int], None]) -> Imported:
    """Write the table of a stack's views, and a spec.

    Args:
        request: the stack, and what its files do not say.
        progress: called with views that were looked at, and all.

    Raises:
        DdgmError: a file is missing, wrong or of another stack; nothing is written.
    """
    request.check()
    path = request.stack
    stack = open_stack(path)
    series = gather(path, stack, find_beside(path, request.given), request.axis, request.exclude)
    views, rows, columns = stack.shape
    size = f"{views} views of {columns} x {rows} pixels, {np.dtype(stack.array.dtype).name}"
    series.found.insert(0, f"stack {path}: {size}")
    series.found += [f"its header is odd, and was read none the less: {r}" for r in stack.remarks]
    signal = _signal(request, series)
    tissue = load_tissue(PriorSpec().weights)
    binning, voxel = _voxel(request, stack, series, tissue.voxel_size_nm)
    thickness = _thickness(request, binning, series)
    text = _spec(request, thickness, binning, voxel, signal)  # before what takes long
    looked = look(path, stack, series.views, progress)
    _check_signal(request, signal, looked)
    _settle_axis(request, looked, series)
    series.views = [
        replace(view, offset=_rough(looked.small[view.view], signal)) for view in series.views
    ]
    polarity = 1 if (signal == "linear") == (request.stain == "dark") else -1
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "views.csv"
        write_views(table, series.views)
        rough = TiltSeries(str(path), str(table), thickness, voxel, binning, signal)
        grey = with_levels(rough, tissue, polarity)
    series.found += grey.found
    series.assumed += [f"stain is {request.stain} in the stack, by --stain", *grey.remarks]
    write_views(request.table, grey.views, [*series.found, *series.assumed])
    create_whole(request.spec, text.encode())
    return Imported(request.spec, request.table, tuple(series.found), tuple(series.assumed))


def _settle_axis(request: Request, looked: Looked, series: Series) -> None:
    """Take the axis from the pixels where nobody says it; refuse one that they contradict."""
    if series.axis is None and not is_aligned(request.stack):
        upright = across_over_along(looked, series.views)
        if upright < 1 / PLAIN:
            series.views = [turned(view, 90.0) for view in series.views]
        degrees = 90 if upright < 1 / PLAIN else 0
        by = f"views change {max(upright, 1 / upright):.1f} times less along it than across"
        series.assumed.append(f"tilt axis: {degrees} degrees from the columns, as {by}")
        return
    ratio = across_over_along(looked, series.views)
    series.found.append(f"views change {ratio:.1f} times less along the tilt axis than across")
    if ratio < 1 / PLAIN and series.axis != "--axis":
        fault = (
            f"stack {request.stack}: views change {1 / ratio:.1f} times more along the tilt axis"
        )
        source = f" that {series.axis} gives" if series.axis else ""
        remedy = "it lies elsewhere: give it by --axis DEGREES, or the alignment of this stack"
        raise ImportFault(f"{fault}{source} than across; {remedy}")


def _signal(request: Request, series: Series) -> Signal:
    signal = request.signal or ("transmitted" if series.log else "linear")
    if request.signal is None:
        series.assumed.append(
            "signal: transmitted, as tilt.com takes logarithms" if series.log else "signal: linear"
        )
    return signal


def _check_signal(request: Request, signal: Signal, looked: Looked) -> None:
    """Refuse intensities that have no logarithm."""
    if signal == "transmitted" and np.nanmin(looked.small) <= 0:
        fault = f"stack {request.stack}: mean intensities down to {np.nanmin(looked.small):.4g}"
        remedy = "add what was taken off, or choose --signal linear"
        raise ImportFault(f"{fault}, of which there is no logarithm; {remedy}")


def _voxel(request: Request, stack: Stack, series: Series, prior_nm: float) -> tuple[int, float]:
    """Binning, and the side of a voxel in nm, near the prior's where it can be chosen."""
    pixel = series.pixel_nm
    if request.voxel_size_nm is not None:
        binning = request.binning or 1
        pixel = request.voxel_size_nm / binning
    elif pixel is None:
        fault = f"stack {request.stack}: its header has no pixel size, or 1 Å, which is none"
        raise ImportFault(f"{fault}; give that of a voxel, after binning, by --voxel-size NM")
    else:
        most = max(1, min(stack.shape[1:]) // 64)
        fits = min(max(1, round(prior_nm / pixel)), most, 64)
        binning = request.binning or fits
        if request.binning is None:
            series.assumed.append(f"binning: {binning}, for voxels near the prior's")
    voxel = binning * pixel
    if not 1 / FITS <= voxel / prior_nm <= FITS:
        fits = max(1, round(prior_nm / pixel))
        remedy = f"--binning {fits} would be nearest"
        series.assumed.append(
            f"voxels of {voxel:.4g} nm, and the prior learnt {prior_nm:g} nm: tissue looks "
            f"different to it; {remedy}, or use a classical method"
        )
    return binning, voxel


def _thickness(request: Request, binning: int, series: Series) -> int:
    """Of the slab, in voxels."""
    if request.thickness is not None:
        return request.thickness
    if series.thickness is not None:
        voxels = max(11, math.ceil(series.thickness / binning))
        series.found.append(f"thickness: {series.thickness:g} pixels, {voxels} voxels, by tilt.com")
        return voxels
    series.assumed.append(f"thickness: {paper.PATCH} voxels; see --thickness")
    return paper.PATCH


def _rough(small: np.ndarray, signal: Signal) -> float:
    """A first offset of a view, which stands for pixels without electrons."""
    if np.isnan(small).all():
        return 0.0
    mean = float(np.nanmean(small))
    return mean if signal == "linear" else -math.log(mean)


def _spec(request: Request, thickness: int, binning: int, voxel: float, signal: Signal) -> str:
    """The spec's text."""
    spec = request.spec.absolute()
    parts = {
        "source": {
            "tilts": str(request.stack.absolute()),
            "views": str(request.table.absolute()),
            "thickness": thickness,
            "binning": binning,
            "voxel_size_nm": float(f"{voxel:.6g}"),
            "signal": signal,
        },
        "output": {"path": str(spec.with_name(f"{spec.stem}-run"))},
        "method": {"name": request.method},
    }
    check_spec(parts)
    return _yaml(parts)


def _yaml(parts: dict[str, Any]) -> str:
    text = io.StringIO()
    YAML().dump(parts, text)
    return f"# of `ddgm import`; look at it with `ddgm plan`, then `ddgm run`\n{text.getvalue()}"
