"""Gain, offset and noise of imported views."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddgm.core.metrics.levels import LevelsError, fit_levels
from ddgm.core.metrics.tissue import Tissue
from ddgm.pipeline.volumes.series.tilt_series import Signal, TiltSeries
from ddgm.pipeline.volumes.series.views import View, write_views

ROWS = 64  # that a plain estimate looks at, in the middle
ALIKE = 3.0  # voxels along a beam over which tissue is much the same


def with_levels(
    stack: Path,
    views: Sequence[View],
    thickness: int,
    binning: int,
    signal: Signal,
    tissue: Tissue,
    polarity: int,
) -> tuple[list[View], list[str]]:
    """The views with their grey levels, and what a user should know of these.

    They are fitted to what tissue of the prior looks like; where none stands out, a plain estimate
    from the spread of the views stands in.

    Args:
        stack: whose views they are.
        views: all of them; their offsets are rough ones.
        thickness: of the slab, in voxels.
        binning: of the stack.
        signal: what is measured.
        tissue: the prior's.
        polarity: sign of the gain.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "views.csv"
        write_views(table, views)
        series = TiltSeries(
            str(stack), str(table), thickness, tissue.voxel_size_nm, binning, signal
        )
        angles = [math.radians(view.angle) for view in series.used]
        rows, remarks = series.shape[0], []
        try:
            levels = fit_levels(series.aligned, rows, angles, thickness, tissue, polarity)
            fitted = zip(levels.gain, levels.offset, levels.noise, strict=True)
            remarks += levels.remarks
        except LevelsError as error:
            fitted = _plain(series, thickness, polarity)
            remarks.append(f"grey levels are rough, from the views' spread alone: {error}")
        used = dict(zip((view.view for view in series.used), fitted, strict=True))
    return [
        replace(view, gain=float(g), offset=float(o), noise=float(n))
        for view in views
        for g, o, n in [used.get(view.view, (1.0, 0.0, 1.0))]
    ], remarks


def _plain(series: TiltSeries, thickness: int, polarity: int) -> list[tuple[float, float, float]]:
    """Gain, offset and noise of each view from its middle rows, one gain for all."""
    middle = series.shape[0] // 2
    start, stop = max(0, middle - ROWS // 2), min(series.shape[0], middle + ROWS // 2)
    seen = series.aligned(start, stop)
    offsets = np.nanmean(seen, axis=(1, 2))
    spread = math.sqrt(float(np.nanmean((seen - offsets[:, None, None]) ** 2)))
    gain = max(spread, 1e-30) / math.sqrt(ALIKE * thickness)
    # what is left by the mask (1 -2 1) along both axes is noise; its squares sum to 36
    left = seen[:, 1:-1] * 2 - seen[:, :-2] - seen[:, 2:]
    left = left[..., 1:-1] * 2 - left[..., :-2] - left[..., 2:]
    noise = 1.4826 * np.nanmedian(np.abs(left), axis=(1, 2)) / 6 / gain
    least = 1e-3 * spread / gain  # of views without noise
    return [
        (polarity * gain, float(o), max(float(n), least))
        for o, n in zip(offsets, noise, strict=True)
    ]
