"""The tilt series that a restoring network was trained on, and whether others are like them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from ddgm.core import paper
from ddgm.core.geometry import Detector, TiltGeometry


@dataclass(frozen=True)
class Conditions:
    """Slices of squares, seen from evenly spaced tilts, with noise.

    Attributes:
        detector: see `TiltGeometry`.
        thickness: of a slice, in pixels.
        width: of a slice, in pixels.
        views: how many tilts.
        degrees: the first and the last.
        tilt_noise: σ_y of the sinograms, normalised units.
    """

    detector: Detector
    thickness: int = paper.PATCH
    width: int = paper.PATCH
    views: int = paper.VIEWS
    degrees: tuple[float, float] = paper.TILT_RANGE
    tilt_noise: float = paper.TILT_NOISE

    @property
    def geometry(self) -> TiltGeometry:
        """Its slices and tilts."""
        return TiltGeometry.uniform(
            self.thickness, self.width, self.views, self.degrees, self.detector
        )

    def difference(self, geometry: TiltGeometry, tilt_noise: float) -> str | None:
        """The first thing in which a tilt series is another, with both values; None if in none.

        With a lateral detector a slice may be wider or narrower: what lies far to the side of a
        pixel has no part in what is measured of it.
        """
        trained, given = self.geometry, geometry
        values = {
            "detector": (trained.detector, given.detector),
            "thickness": (trained.thickness, given.thickness),
            "views": (trained.views, given.views),
            "degrees": (_ends(trained), _ends(given)),
            "aspect": (trained.aspect, given.aspect),
            "noise": (self.tilt_noise, tilt_noise),
        }
        if self.detector == "perpendicular":
            values["width"] = trained.width, given.width
        for name, (ours, theirs) in values.items():
            if ours != theirs:
                return f"{name} {_shown(ours)}, not {_shown(theirs)}"
        pairs = zip(trained.angles, given.angles, strict=True)
        if not all(math.isclose(a, b, abs_tol=1e-6) for a, b in pairs):
            return "evenly spaced tilts, not uneven ones"
        return None

    @property
    def described(self) -> str:
        """Its values as a line of text."""
        low, high = self.degrees
        wide = f"x {self.width} " if self.detector == "perpendicular" else "pixels thick "
        return (
            f"detector {self.detector}, slices {self.thickness} {wide}, {self.views} views from "
            f"{low:g} to {high:g} degrees, noise {self.tilt_noise:g}"
        ).replace(" ,", ",")


def _ends(geometry: TiltGeometry) -> tuple[float, float]:
    ends = geometry.angles[0], geometry.angles[-1]
    return round(math.degrees(ends[0]), 4), round(math.degrees(ends[1]), 4)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def conditions_of(fields: Mapping[str, Any]) -> Conditions:
    """Conditions of their fields as JSON holds them, if there can be such tilt series.

    Raises:
        KeyError, TypeError: a field is missing, unknown or of another type.
        ValueError: a number is out of its bounds; it names the field.
    """
    low, high = (float(d) for d in fields["degrees"])
    made = Conditions(**{**fields, "degrees": (low, high)})
    for name in ("thickness", "width", "views"):
        if type(value := getattr(made, name)) is not int or not 1 <= value <= 2**16:
            raise ValueError(f"restores.{name}: {value!r:.40} is not from 1 to {2**16}")
    if made.detector not in get_args(Detector):
        raise ValueError(f"restores.detector: {made.detector!r:.40} is none")
    if not -90 < low <= high < 90 or not 0 < float(made.tilt_noise) < math.inf:
        raise ValueError("restores: degrees must rise within -90 and 90, and the noise be above 0")
    return made
