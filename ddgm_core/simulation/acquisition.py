"""Simulated tilts that differ from what reconstructs them, view by view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from ddgm.core.numbers import NumberError, Numbers, number
from ddgm.core.simulation.noise import NoiseField, SliceOrigin

CHOICES = {"kernel": ("linear", "line", "strip"), "subsampling": (1, 2, 4)}

CONTRAST = 0.25  # by which the slab's density falls where x rises by one: 0 at x = 4
DENSITY = 1.0  # mean free paths through the slab at tilt 0, at the density of x = 0
LEAST_COUNT = 0.5  # electrons that a bin without any is taken for


@dataclass(frozen=True, kw_only=True)
class Acquisition(Numbers):
    """The way tilts are simulated, where it is not with the projector that reconstructs them.

    Errors of views are drawn by the seed of the tilts and the slab's place, one for all its slices.
    """

    kernel: Literal["linear", "line", "strip"] = number(
        "linear", "ASTRA's; linear is the one that reconstructs"
    )
    subsampling: Literal[1, 2, 4] = number(
        1, "parts that each pixel and each bin is cut into, along each axis"
    )
    shift: float = number(
        0.0, "of views along the detector, in bins; standard deviation", ge=0, le=100
    )
    angle: float = number(0.0, "error of tilts, in degrees; standard deviation", ge=0, le=5)
    dose: float | None = number(
        None,
        "electrons to a bin of each view, of which the slab lets about 1/e through at tilt 0; the "
        "data have their Poisson noise in place of the Gaussian, and tilts.noise is what the "
        "reconstruction takes it for",
        gt=0,
        le=1e12,
    )
    gain: float = number(0.0, "error of views' gains; standard deviation", ge=0, le=1)
    offset: float = number(
        0.0, "added to views, in the units of tilts.noise; standard deviation", ge=0, le=1e6
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise NumberError(
                    f"{name}: {value} is none; choose of {', '.join(map(str, known))}"
                )

    @property
    def described(self) -> str:
        """All that differs, as `parsed` takes it; the kernel always."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {f.name: f.default for f in fields(self)}
        changed = {k: v for k, v in given.items() if v != plain[k] or k == "kernel"}
        return ":".join(
            f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in changed.items()
        )


def parsed(text: str) -> Acquisition:
    """The acquisition of a text such as `kernel=strip:subsampling=2:shift=0.5`.

    Raises:
        NumberError: it is something else, or a value that there cannot be.
    """
    kinds: dict[str, Callable[[str], object]] = {f.name: float for f in fields(Acquisition)}
    kinds |= {"kernel": str, "subsampling": int}
    values = {}
    for part in text.split(":"):
        name, _, value = part.partition("=")
        if name not in kinds:
            raise NumberError(
                f"{name!r} is none of {', '.join(kinds)}; write NAME=VALUE:NAME=VALUE"
            )
        try:
            values[name] = kinds[name](value)
        except ValueError:
            raise NumberError(f"{name}: {value!r} must be a number") from None
        if values[name] != values[name] or values[name] == float("inf"):
            raise NumberError(f"{name}: {value} must be a number")
    return Acquisition(**values)


@dataclass(frozen=True)
class ViewErrors:
    """Errors of a slab's views, (views,) each.

    Attributes:
        shift: along the detector, in bins.
        angle: of the tilt, in radians.
        gain: factor of the data.
        offset: added to the data.
    """

    shift: np.ndarray
    angle: np.ndarray
    gain: np.ndarray
    offset: np.ndarray


def view_errors(acquisition: Acquisition, views: int, seed: int, place: SliceOrigin) -> ViewErrors:
    """The errors of a slab's views: the same for all its slices, which are imaged at once.

    Args:
        acquisition: their standard deviations.
        views: of the whole series.
        seed: of the tilts.
        place: origin of one of the slab's slices.
    """
    slab = (*place[:2], 0)
    shift, angle, gain, offset = NoiseField(seed, "views").slice((4, views), slab)
    return ViewErrors(
        acquisition.shift * shift,
        np.radians(acquisition.angle) * angle,
        1 + acquisition.gain * gain,
        acquisition.offset * offset,
    )


def counted(
    sums: np.ndarray, empty: np.ndarray, thickness: int, dose: float, rng: np.random.Generator
) -> np.ndarray:
    """Ray sums as they are found from electrons that pass the slab and are counted.

    The slab's density is 1 - `CONTRAST` x, and electrons pass by Beer and Lambert's law.

    Args:
        sums: Ax, (views, bins).
        empty: A1, the length of each ray in the slab.
        thickness: of the slab, in pixels.
        dose: electrons to a bin.
        rng: draws the counts.

    Returns:
        (views, bins), float32: Ax with noise that grows with the tilt.
    """
    depth = thickness / DENSITY
    passing = np.exp(-(empty - CONTRAST * sums) / depth)
    counts = np.maximum(rng.poisson(dose * passing.astype(np.float64)), LEAST_COUNT)
    return ((empty + depth * np.log(counts / dose)) / CONTRAST).astype(np.float32)
