"""Gain, offset and noise of imported views."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ddgm.core.metrics.levels import Levels, LevelsError, fit_levels
from ddgm.core.metrics.tissue import Tissue
from ddgm.pipeline.volumes.series.tilt_series import TiltSeries
from ddgm.pipeline.volumes.series.views import View

ROWS = 64  # that a plain estimate looks at, in the middle
EMPTY = 0.25  # share of pixels at one end of all from which on they are a void
ALIKE = 3.0  # voxels along a beam over which tissue is much the same


@dataclass(frozen=True)
class Grey:
    """Grey levels of views.

    Attributes:
        views: all of them, with theirs.
        found: the fit in words; empty where there is none.
        remarks: what a user should know of them.
    """

    views: list[View]
    found: list[str]
    remarks: list[str]


def with_levels(series: TiltSeries, tissue: Tissue, polarity: int) -> Grey:
    """The views of a series with their grey levels.

    They are fitted to what tissue of the prior looks like; where none stands out, a plain estimate
    from the spread of the views stands in.

    Args:
        series: whose table has rough offsets.
        tissue: the prior's.
        polarity: sign of the gain.
    """
    used, found, remarks = series.used, [], []
    angles = [math.radians(view.angle) for view in used]
    try:
        levels = fit_levels(
            series.aligned, series.shape[0], angles, series.thickness, tissue, polarity
        )
        fitted = list(zip(levels.gain, levels.offset, levels.noise, strict=True))
        remarks += levels.remarks
        found.append(_in_words(levels))
    except LevelsError as error:
        fitted = _plain(series, polarity)
        remarks.append(f"grey levels are rough, from the views' spread alone: {error}")
    for_view = dict(zip((view.view for view in used), fitted, strict=True))
    views = []
    for view in series.table:
        gain, offset, noise = map(float, for_view.get(view.view, (1.0, 0.0, 1.0)))
        views.append(replace(view, gain=gain, offset=offset, noise=noise))
    return Grey(views, found, remarks)


def _in_words(levels: Levels) -> str:
    """Medians over the views, each with its standard error."""
    parts = (
        ("gain", levels.gain, levels.gain_error),
        ("offset", levels.offset, levels.offset_error),
        ("noise", levels.noise, levels.noise_error),
    )
    words = [f"{name} {np.median(n):.4g} ± {np.median(e):.2g}" for name, n, e in parts]
    return f"grey levels of a view, fitted to the prior's tissue: {', '.join(words)}"


def _plain(series: TiltSeries, polarity: int) -> list[tuple[float, float, float]]:
    """Gain, offset and noise of each view from its middle rows, one gain for all.

    The offset is a view's mean; or, of things that stand in a void, the void's level.
    """
    middle = series.shape[0] // 2
    start, stop = max(0, middle - ROWS // 2), min(series.shape[0], middle + ROWS // 2)
    seen = series.aligned(start, stop)
    void = _void(seen, polarity)
    offsets = np.nanmean(seen, axis=(1, 2)) if void is None else np.full(len(seen), void)
    spread = math.sqrt(float(np.nanmean((seen - offsets[:, None, None]) ** 2)))
    # a thing in a void is alike through half of the slab, tissue over a few voxels
    alike = ALIKE * series.thickness if void is None else (series.thickness / 2) ** 2
    gain = max(spread, 1e-30) / math.sqrt(alike)
    # what the mask (1 -2 1) leaves along both axes is mostly noise; its squares sum to 36
    left = seen[:, 1:-1] * 2 - seen[:, :-2] - seen[:, 2:]
    left = left[..., 1:-1] * 2 - left[..., :-2] - left[..., 2:]
    noise = np.sqrt(np.nanmean(left**2, axis=(1, 2))) / 6 / gain
    least = 1e-3 * spread / gain  # of views without noise
    return [
        (polarity * gain, float(o), max(float(n), least))
        for o, n in zip(offsets, noise, strict=True)
    ]


def _void(seen: np.ndarray, polarity: int) -> float | None:
    """The level of pixels with nothing in them, where there are many; none of a slab of tissue."""
    low, high = np.nanquantile(seen, (0.05, 0.95))
    level = low if polarity < 0 else high
    near = np.abs(seen - level) < (high - low) / 10  # 7 % of what is normally distributed
    return float(np.median(seen[near])) if near.sum() > EMPTY * np.isfinite(seen).sum() else None
