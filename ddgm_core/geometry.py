"""Tilt geometry of a slab's slices: shape of a slice, tilt angles, detector."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from ddgm.core import paper
from ddgm.core.errors import DdgmError

Detector = Literal["perpendicular", "lateral"]


class GeometryError(DdgmError):
    """Sides of a pixel that there cannot be."""


@dataclass(frozen=True)
class TiltGeometry:
    """The shape of a slice, and the tilts and the detector that it is seen with.

    Attributes:
        thickness: of a slice, in pixels: its rows, in depth.
        width: of a slice, in pixels: its columns, along the detector.
        angles: tilt angles in radians; at 0 the beam runs along the thickness.
        detector: `perpendicular` to the beam (the paper's, ASTRA's `parallel`), or `lateral`:
            its bins lie on the slab's own lateral grid at every tilt (`parallel_vec`), so
            that projecting commutes with lateral shifts.
        bins: detector bins, as wide as a pixel: the unit is its side along the width.
        aspect: a pixel's side along the thickness over its side along the width; 1 for squares,
            10 for voxels of 40 nm in depth and 4 nm across. A sum along a beam is in units of the
            former: at tilt 0 it is the sum over rows, whatever the sides.
        noise: of a measured series, whose perpendicular detector was stretched to a lateral one:
            each view's, over that of the data once they are whitened (`FourierProjector`); empty
            where all bins have the same.

    Raises:
        GeometryError: `aspect`, or a view's noise, is not above 0.

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
    aspect: float = 1.0
    noise: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.aspect < math.inf:
            raise GeometryError(f"aspect: {self.aspect} must be above 0, as is a ratio of sides")
        if self.noise and len(self.noise) != self.views:
            raise GeometryError(f"noise: {len(self.noise)} values for {self.views} views; give one")
        if wrong := [noise for noise in self.noise if not 0 < noise < math.inf]:
            raise GeometryError(f"noise: {wrong[0]} must be above 0, as is a standard deviation")

    @classmethod
    def uniform(
        cls,
        thickness: int,
        width: int,
        views: int = paper.VIEWS,
        degrees: tuple[float, float] = paper.TILT_RANGE,
        detector: Detector = "perpendicular",
        aspect: float = 1.0,
    ) -> TiltGeometry:
        """Evenly spaced tilts, both ends included (measured to be the paper's reading).

        A perpendicular detector is as wide as the slice (paper, section 3.2), so that of deep
        pixels, of an `aspect` far above 1, a steep view falls beside it for the most part; a
        lateral one is wide enough to miss nothing: `reach` more bins at each side.
        """
        angles = tuple(float(a) for a in np.radians(np.linspace(*degrees, views)))
        lateral = detector == "lateral"
        bins = width + 2 * reach(thickness, angles, aspect) if lateral else width
        return cls(thickness, width, angles, detector, bins, aspect)

    def of_views(self, views: Sequence[int]) -> TiltGeometry:
        """The geometry of some of the views, by their numbers, with all bins."""
        noise = tuple(self.noise[i] for i in views) if self.noise else ()
        return replace(self, angles=tuple(self.angles[i] for i in views), noise=noise)

    @property
    def views(self) -> int:
        """Number of tilts."""
        return len(self.angles)

    @property
    def reach(self) -> int:
        """Bins by which a pixel's projection can lie beside its own column; see `reach`."""
        return reach(self.thickness, self.angles, self.aspect)

    @property
    def pixel_angles(self) -> tuple[float, ...]:
        """Angles of the beams as they cross the grid of pixels, were these squares; in radians."""
        if self.aspect == 1:
            return self.angles  # to the bit
        return tuple(math.atan(self.aspect * math.tan(a)) for a in self.angles)

    @property
    def is_paired(self) -> bool:
        """True if views come in pairs ±θ of the same noise: AᵀA is the same for mirrored slices."""
        views = sorted(zip(self.angles, self.noise or (1.0,) * self.views, strict=True))
        return np.allclose(views, sorted((-angle, noise) for angle, noise in views))

    def fields(self) -> dict[str, Any]:
        """All of it by name; without the noise of views where there is none."""
        found = asdict(self)
        if not self.noise:  # as before there were measured series
            del found["noise"]
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of all fields; names what was built for this geometry."""
        fields = self.fields()
        if self.aspect == 1:  # as before there were other pixels than squares
            del fields["aspect"]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def held_out_views(views: int, every: int) -> tuple[int, ...]:
    """Numbers of the views that are held out where every nth is; none where there are few.

    Counted from both ends inward, so that evenly spaced tilts still come in pairs ±θ, which halves
    what `fourier` costs; the outermost views stay, since no others could predict them.
    """
    half = range(every // 2, (views + 1) // 2, every)
    return tuple(sorted({*half, *(views - 1 - i for i in half)}))


def reach(thickness: int, angles: tuple[float, ...], aspect: float = 1.0) -> int:
    """Bins by which a pixel's projection can lie beside its own column, at the steepest tilt.

    The kernel spreads a pixel over as many bins to either side as a beam crosses columns within
    a row. One is enough for squares up to 63°; beyond, their faint ends are cut off.
    """
    steepest = aspect * max(abs(math.tan(a)) for a in angles)
    beside = 1 if aspect == 1 else max(1, math.ceil(steepest / 2))
    return math.ceil(thickness / 2 * steepest) + beside
