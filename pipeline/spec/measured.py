"""Specs of measured tilt series: their axes and layers, and the keys that are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ddgm.core.geometry import TiltGeometry, reach
from ddgm.pipeline.spec.base import PlanError
from ddgm.pipeline.spec.output import NEED_TRUTH, Layer
from ddgm.pipeline.spec.tilts import held_out
from ddgm.pipeline.volumes.box import Box

AXES = {"thickness_axis": "z", "width_axis": "x", "tilt_axis": "y"}
LAYERS: tuple[Layer, ...] = "reconstruction", "algebraic"
# keys that say how views are simulated, and how a volume is cut
REFUSED: Mapping[str, Mapping[str, str]] = {
    "tilts": {
        "count": "the table of views says which there are",
        "range": "the table of views has their angles",
        "seed": "nothing is drawn to make them",
        "detector": "their rows are stretched to the slab's own grid",
        "simulate": "they were measured",
    },
    "slab": {
        "thickness": "source.thickness is the slab's",
        "width": "it is that of the views",
        "slabs": "there is one slab",
    },
}


def settle(spec: Any) -> None:
    """Give a spec of a measured series its axes and layers, and refuse what is of volumes.

    Args:
        spec: a `Spec`, whose module imports this one.

    Raises:
        ValueError: it asks for something that needs a truth, or says how views are simulated.
    """
    for part, names in REFUSED.items():
        given = getattr(spec, part)
        for name, why in names.items():
            if name in given.model_fields_set:
                raise ValueError(
                    f"{part}.{name}: is not for a measured tilt series: {why}; leave it out"
                )
    if spec.calibration is not None:
        raise ValueError(
            "calibration: is for simulated views alone, as it was learnt from their truth; leave "
            "it out"
        )
    if spec.tilts.noise == 0:
        raise ValueError("tilts.noise: 0 is no unit for the noise of views; leave it out")
    _settle_layers(spec)
    _settle_axes(spec)


def _settle_layers(spec: Any) -> None:
    output = spec.output
    if "layers" not in output.model_fields_set:
        output = output.model_copy(update={"layers": LAYERS})
        object.__setattr__(spec, "output", output)
    for layer in output.layers:
        if layer in NEED_TRUTH:
            raise ValueError(
                f"output.layers: {layer} needs the truth, which a measured tilt series has not; "
                f"leave it out, as in [{', '.join(LAYERS)}]"
            )


def _settle_axes(spec: Any) -> None:
    slab = spec.slab
    for name, axis in AXES.items():
        if name in slab.model_fields_set and getattr(slab, name) != axis:
            raise ValueError(
                f"slab.{name}: {getattr(slab, name)} must be {axis} for a measured tilt series, "
                "whose tilt axis lies along y; leave it out"
            )
    own = slab.model_copy(update={**AXES, "thickness": spec.source.thickness})
    own.__pydantic_fields_set__.discard("thickness")  # as it came: not the slab's own word
    object.__setattr__(spec, "slab", own)


def without_refused(parts: dict[str, Any]) -> dict[str, Any]:
    """A spec of a measured series as it may be read again, without the keys that are refused."""
    kept = dict(parts)
    for part, names in REFUSED.items():
        if part in kept:
            kept[part] = {k: v for k, v in kept[part].items() if k not in names}
    return kept


def geometry(
    thickness: int, width: int, views: Sequence[tuple[float, float]], noise: float
) -> TiltGeometry:
    """Tilt geometry of slices whose views were measured.

    Args:
        thickness, width: of a slice, in voxels.
        views: angle in degrees, and noise, of each.
        noise: the unit of theirs, `tilts.noise`.
    """
    angles = tuple(math.radians(degrees) for degrees, _ in views)
    bins = width + 2 * reach(thickness, angles)
    relative = tuple(own / noise for _, own in views)
    return TiltGeometry(thickness, width, angles, "lateral", bins, noise=relative)


def held_out_by_angle(angles: Sequence[float], every: int) -> tuple[int, ...]:
    """Numbers of the views that are held out: every nth by angle, whatever order they lie in.

    Raises:
        PlanError: none would be, or too few would be left.
    """
    by_angle = sorted(range(len(angles)), key=angles.__getitem__)
    try:
        return tuple(sorted(by_angle[i] for i in held_out(len(angles), every)))
    except ValueError as error:
        raise PlanError(str(error)) from error


def check_cut(box: Box, bounds: Box) -> None:
    """Check that a box is a run of whole slices.

    Raises:
        PlanError: it cuts them.
    """
    for axis in (0, 2):
        whole = bounds.start[axis], bounds.stop[axis]
        if (box.start[axis], box.stop[axis]) != whole:
            raise PlanError(
                f"source.box.{'zyx'[axis]}: a measured tilt series is cut along y alone, its tilt "
                f"axis; give {list(whole)}"
            )
