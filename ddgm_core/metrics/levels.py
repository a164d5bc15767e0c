"""Gain, offset and noise of measured views, found from what tissue is known to look like.

A view that is measured as gain · (Ax + noise) + offset has at each frequency the power gain² ·
(L P + noise²): by the projection theorem P is the tissue's power in the plane across the beam, and
L the length of the beam in the slab. P falls by four decades before noise stands alone, so the two
parts can be told, and tissue that the prior knows says what the gain is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddgm.core.metrics.tissue import Tissue
from ddgm.core.metrics.view_power import (
    LevelsError,
    Parts,
    bands,
    expected_power,
    frequencies,
    look,
    split,
    standard_error,
)

Read = Callable[[int, int], np.ndarray]

SLOW = 4  # degree of the polynomial in the tilt that tissue's own grain can make
SURE = 4.0  # standard errors
UNEQUAL = (
    0.05  # by which gains of views must differ; tissue's own differ by 0.04 at most (measured)
)
CLEAR = 1.7  # times the error of that


@dataclass(frozen=True)
class Levels:
    """Grey levels of views, (views,) each: measured = gain · (Ax + noise · ε) + offset, ε white.

    x is tissue in the prior's units, of mean 0; A sums it along the beam, in voxels. The errors are
    standard errors; those of gain and offset leave out how far this tissue is from the prior's.

    Attributes:
        gain: signed; the same for all views unless the data say otherwise.
        offset: in grey levels of the views.
        noise: standard deviation, in the units of Ax.
        gain_error, offset_error, noise_error: in the units of each.
        remarks: what a user should know, a sentence each.
    """

    gain: np.ndarray
    offset: np.ndarray
    noise: np.ndarray
    gain_error: np.ndarray
    offset_error: np.ndarray
    noise_error: np.ndarray
    remarks: tuple[str, ...] = ()


def fit_levels(
    read: Read,
    rows: int,
    angles: Sequence[float],
    thickness: int,
    tissue: Tissue,
    polarity: int = 1,
) -> Levels:
    """Gain, offset and noise of each view, from a sample of its rows.

    Args:
        read: (start, stop) -> (views, rows, columns), those rows of all views as they were
            measured, aligned and binned, on a detector across the beam; NaN where there are none.
        rows: of each view.
        angles: of the tilts, in radians.
        thickness: of the slab, in voxels.
        tissue: what the prior was trained on.
        polarity: the gain's sign; -1 where the views are bright where the prior's tissue is dark.

    Raises:
        LevelsError: the views are too small, a view is constant, or no tissue stands above noise.
    """
    lengths = thickness / np.cos(np.asarray(angles, np.float64))
    looks = [look(read(*band)) for band in bands(rows)]
    shape = looks[0].shape
    unit = expected_power(shape, tissue.volume_power).ravel()  # for each voxel of a beam
    frequency = frequencies(shape).ravel()
    fits = [
        split(np.concatenate([seen.powers[v] for seen in looks]), length * unit, frequency, v)
        for v, length in enumerate(lengths)
    ]
    gain, gain_error, remarks = _gains(fits, np.asarray(angles))
    floor = np.array([np.median(fit.noise) for fit in fits])
    floor_error = np.array([standard_error(fit.noise) for fit in fits]) * math.sqrt(math.pi / 2)
    pixels = np.sum([seen.pixels for seen in looks], axis=0)
    sums = np.sum([seen.sums for seen in looks], axis=0)
    spread = gain**2 * lengths * tissue.volume_power(np.zeros(1)) + floor
    noise = np.sqrt(floor) / gain
    return Levels(
        polarity * gain,
        sums / pixels,
        noise,
        gain_error,
        np.sqrt(spread / pixels),
        noise * np.hypot(floor_error / (2 * floor), gain_error / gain),
        remarks,
    )


def _gains(
    fits: Sequence[Parts], angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The gain of each view and its standard error, and words where they differ.

    Tissue has a grain, so that its views' powers change slowly with the tilt (by 20 %, measured);
    gains are taken to differ only where one view's power jumps from the next one's, and then by
    how far each is from the slow change.

    Raises:
        LevelsError: no tissue stands above the noise.
    """
    tiles = min(len(fit.square) for fit in fits)
    pooled = np.mean([fit.square[:tiles] for fit in fits], axis=0)  # views see the same tissue
    square, error = float(pooled.mean()), standard_error(pooled)
    if square <= SURE * (error if tiles > 1 else 0.0):
        raise LevelsError(
            "tilts: nothing in the views has the spectrum of the prior's tissue; check "
            "source.binning and source.voxel_size_nm, or give gain, offset and noise in the table"
        )
    gain = math.sqrt(square)
    gains = np.full(len(fits), gain)
    errors = np.full(len(fits), error / (2 * gain))
    if len(fits) <= SLOW + 2 or tiles < 2:
        return gains, errors, ()
    order, squares = np.argsort(angles), np.array([fit.square[:tiles] for fit in fits])
    logs = np.log(np.maximum(squares, 1e-3 * square)) / 2  # of gains, (views, tiles)
    steps = np.diff(logs[order], axis=0)  # from view to view, of the same tissue
    jumps = math.sqrt(float((steps.mean(axis=1) ** 2).mean()) / 2)
    own = math.sqrt(float((steps.var(axis=1, ddof=1) / tiles).mean()) / 2)
    if jumps < max(UNEQUAL, CLEAR * own):
        return gains, errors, ()
    each = logs.mean(axis=1)
    slow = np.polynomial.Polynomial.fit(angles, each, SLOW)
    gains = gains * np.exp(each - slow(angles))
    remark = f"gains differ from view to view by {100 * jumps:.0f} %, so each view has its own"
    return gains, gains * np.hypot(errors / gain, own), (remark,)
