"""Gain, offset and noise of measured views, found from what tissue is known to look like.

A view that is measured as gain · (Ax + noise) + offset has at each frequency the power gain² ·
(L P + noise²): by the projection theorem P is the tissue's power in the plane across the beam, and
L the length of the beam in the slab. P falls by four decades before noise stands alone, so the two
parts can be told, and tissue that the prior knows says what the gain is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.core.metrics.tissue import SIDE, Tissue

Read = Callable[[int, int], np.ndarray]

BANDS = 4  # of rows, spread over the stack, that are looked at
TILES = 16  # of each band, at most
LEAST = 32  # rows, and columns, without which there is nothing to be found
COARSEST = 4.5 / SIDE  # cycles a voxel: below, one piece of tissue differs much from another
ROUNDS = 20
SURE = 3.0  # standard errors


class LevelsError(DdgmError):
    """Views whose grey levels cannot be told."""


@dataclass(frozen=True)
class Levels:
    """Grey levels of views, (views,) each: measured = gain · (Ax + noise · ε) + offset, ε white.

    x is tissue in the prior's units, of mean 0; A sums it along the beam, in voxels. The errors are
    standard errors; that of the gain leaves out how far this tissue is from the prior's.

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
    raise NotImplementedError
