"""Tilt geometry of a slab's slices: shape of a slice, tilt angles, detector."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from ddgm.core import paper

Detector = Literal["perpendicular", "lateral"]


@dataclass(frozen=True)
class TiltGeometry:
    """The shape of a slice, and the tilts and the detector that it is seen with.

    Attributes:
        thickness, width: of a slice in pixels: its rows (depth) and its columns (lateral).
        angles: tilt angles in radians; at 0 the beam runs along the thickness.
        detector: `perpendicular` to the beam (the paper's, ASTRA's `parallel`), or `lateral`:
            its bins lie on the slab's own lateral grid at every tilt (`parallel_vec`), so
            that projecting commutes with lateral shifts.
        bins: detector bins, one pixel wide.

    Examples:
        >>> geometry = ddgm.TiltGeometry.uniform(128, 512, views=61, degrees=(-60, 60))
        >>> geometry.views, geometry.bins
        (61, 512)
    """

    thickness: int
    width: int
    angles: tuple[float, ...]
    detector: Detector
    bins: int

    @classmethod
    def uniform(
        cls,
        thickness: int,
        width: int,
        views: int = paper.VIEWS,
        degrees: tuple[float, float] = paper.TILT_RANGE,
        detector: Detector = "perpendicular",
    ) -> TiltGeometry:
        """Evenly spaced tilts, both ends included (measured to be the paper's reading).

        A perpendicular detector is as wide as the slice (paper, section 3.2); a lateral one
        is wide enough to miss nothing: `reach` more bins at each side.
        """
        angles = tuple(float(a) for a in np.radians(np.linspace(*degrees, views)))
        bins = width + 2 * reach(thickness, angles) if detector == "lateral" else width
        return cls(thickness, width, angles, detector, bins)

    @property
    def views(self) -> int:
        """Number of tilts."""
        return len(self.angles)

    @property
    def digest(self) -> str:
        """SHA-256 of all fields; names what was built for this geometry."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


def reach(thickness: int, angles: tuple[float, ...]) -> int:
    """Bins by which a pixel's projection can lie beside its own column, at the steepest tilt."""
    steepest = max(abs(math.tan(a)) for a in angles)
    return math.ceil(thickness / 2 * steepest) + 1  # one more: a pixel falls on two bins
