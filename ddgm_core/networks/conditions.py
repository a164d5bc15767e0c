"""The tilt series that a restoring network was trained on, and whether others are like them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from ddgm.core import paper
from ddgm.core.geometry import Detector, TiltGeometry

TILTS = 16  # geometries that a training draws from a range: each has an operator of its own

Span = tuple[float, float]


@dataclass(frozen=True)
class ConditionsRange:
    """Tilts and noises that a training draws from: one network restores any tilt series of them.

    Attributes:
        views: fewest and most tilts.
        degrees: least and most of the first and of the last tilt, each on its side.
        tilt_noise: lowest and highest σ_y.
    """

    views: tuple[int, int]
    degrees: Span
    tilt_noise: Span

    def outside(self, geometry: TiltGeometry, tilt_noise: float) -> str | None:
        """The first thing of a tilt series that lies outside, with its bounds; None if none."""
        first, last = _ends(geometry)
        spans = {
            "views": (self.views, geometry.views),
            "first degrees": ((-self.degrees[1], -self.degrees[0]), first),
            "last degrees": (self.degrees, last),
            "noise": (self.tilt_noise, tilt_noise),
        }
        for name, ((least, most), value) in spans.items():
            if not least <= value <= most:
                return f"{name} {least:g} to {most:g}, not {value:g}"
        return None


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
        range: of other tilts and noises that were trained on, too.
    """

    detector: Detector
    thickness: int = paper.PATCH
    width: int = paper.PATCH
    views: int = paper.VIEWS
    degrees: tuple[float, float] = paper.TILT_RANGE
    tilt_noise: float = paper.TILT_NOISE
    range: ConditionsRange | None = None

    def drawn(self, seed: int, update: int) -> Conditions:
        """The conditions of an update of a training: these, or out of their range.

        Its noise is log-uniform, and its tilts are one of `TILTS` kinds, which are drawn once.
        """
        if self.range is None:
            return self
        of = np.random.default_rng((seed, update, 1))
        kind = np.random.default_rng((seed, int(of.integers(TILTS)), 2))
        degrees = -kind.uniform(*self.range.degrees), kind.uniform(*self.range.degrees)
        return replace(
            self,
            views=int(kind.integers(*self.range.views, endpoint=True)),
            degrees=(float(degrees[0]), float(degrees[1])),
            tilt_noise=math.exp(of.uniform(*np.log(self.range.tilt_noise))),
            range=None,
        )

    @property
    def geometry(self) -> TiltGeometry:
        """Its slices and tilts."""
        return TiltGeometry.uniform(
            self.thickness, self.width, self.views, self.degrees, self.detector
        )

    def difference(self, geometry: TiltGeometry, tilt_noise: float) -> str | None:
        """The first thing in which a tilt series is another, with both values; None if in none.

        With a range, views, degrees and noise may lie anywhere in it.
        With a lateral detector a slice may be wider or narrower: what lies far to the side of a
        pixel has no part in what is measured of it.
        """
        trained, given = self.geometry, geometry
        values: dict[str, tuple[object, object]] = {
            "detector": (trained.detector, given.detector),
            "thickness": (trained.thickness, given.thickness),
            "aspect": (trained.aspect, given.aspect),
        }
        if self.detector == "perpendicular":
            values["width"] = trained.width, given.width
        if self.range is None:
            values["views"] = trained.views, given.views
            values["degrees"] = _ends(trained), _ends(given)
            values["noise"] = self.tilt_noise, tilt_noise
        for name, (ours, theirs) in values.items():
            if ours != theirs:
                return f"{name} {_shown(ours)}, not {_shown(theirs)}"
        if self.range is not None and (said := self.range.outside(given, tilt_noise)):
            return said
        if self.range is not None:
            ends = math.degrees(given.angles[0]), math.degrees(given.angles[-1])
            trained = replace(self, views=given.views, degrees=ends).geometry
        pairs = zip(trained.angles, given.angles, strict=True)
        if not all(math.isclose(a, b, abs_tol=1e-6) for a, b in pairs):
            return "evenly spaced tilts, not uneven ones"
        return None

    @property
    def described(self) -> str:
        """Its values as a line of text."""
        (low, high), wider = self.degrees, self.range
        wide = f"x {self.width} " if self.detector == "perpendicular" else "pixels thick "
        said = f"detector {self.detector}, slices {self.thickness} {wide}".rstrip()
        if wider is None:
            return (
                f"{said}, {self.views} views from {low:g} to {high:g} degrees, noise "
                f"{self.tilt_noise:g}"
            )
        return (
            f"{said}, {_shown(wider.views)} views, tilted to {_shown(wider.degrees)} degrees "
            f"either way, noise {_shown(wider.tilt_noise)}"
        )


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
    wider = fields.get("range")
    made = Conditions(
        **{**fields, "degrees": (low, high), "range": None if wider is None else range_of(wider)}
    )
    for name in ("thickness", "width", "views"):
        if type(value := getattr(made, name)) is not int or not 1 <= value <= 2**16:
            raise ValueError(f"restores.{name}: {value!r:.40} is not from 1 to {2**16}")
    if made.detector not in get_args(Detector):
        raise ValueError(f"restores.detector: {made.detector!r:.40} is none")
    if not -90 < low <= high < 90:
        raise ValueError(f"restores.degrees: {[low, high]} must rise within -90 and 90")
    if not 0 < float(made.tilt_noise) < math.inf:
        raise ValueError(f"restores.tilt_noise: {made.tilt_noise!r:.40} is not above 0")
    return made


def range_of(fields: Mapping[str, Any]) -> ConditionsRange:
    """A range of its fields as JSON holds them, if there can be such tilt series.

    Raises:
        KeyError, TypeError: a field is missing, unknown or of another type.
        ValueError: a number is out of its bounds; it names the field.
    """
    made = ConditionsRange(**{name: tuple(ends) for name, ends in fields.items()})
    bounds = {"views": 2**16, "degrees": 89.99, "tilt_noise": 1e12}
    for name, most in bounds.items():
        low, high = getattr(made, name)
        kinds = (int,) if name == "views" else (int, float)
        if not (type(low) in kinds and type(high) in kinds and 0 < low <= high <= most):
            raise ValueError(f"restores.range.{name}: {[low, high]!r:.40} must rise, up to {most}")
    return made
