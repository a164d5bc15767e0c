"""Metadata of a run's images: where they lie, their levels, and how to show them (OME-Zarr 0.5)."""

from __future__ import annotations

from typing import Any

from ddgm.pipeline.spec.levels import Level, Pyramid
from ddgm.pipeline.spec.output import ERRORS, GREY, Layer
from ddgm.pipeline.spec.plan import AXES, Plan
from ddgm.pipeline.volumes.coordinates import centre_of, size_of

MEANS = "area means of the level before; grey levels in uint8 rounded half to even"
STDS = 3.0  # standard deviations on either side of the mean that are shown
SPREAD = 64.0  # shown of differences of grey levels, where nothing says how far these differ


def ome_attributes(plan: Plan, layer: Layer, coarser: int = 0) -> dict[str, Any]:
    """OME-Zarr 0.5 metadata that lays a layer on its source volume, in nanometres.

    Args:
        plan: of the run.
        layer: an image.
        coarser: how many levels it has beside level 0.
    """
    multiscale: dict[str, Any] = {
        "name": layer,
        "axes": [{"name": a, "type": "space", "unit": "nanometer"} for a in AXES],
        "datasets": [_dataset(plan, level) for level in Pyramid(plan).levels[: coarser + 1]],
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if coarser:  # older runs have neither
        multiscale |= {"type": "mean", "metadata": {"description": MEANS}}
        low, high = _shown(plan, layer)
        window = {"min": low, "max": high, "start": low, "end": high}
        channel = {"label": layer, "color": "FFFFFF", "active": True, "window": window}
        ome["omero"] = {"channels": [channel]}
    return {"ome": ome}


def array_attributes(plan: Plan, level: Level) -> dict[str, Any]:
    """The attributes of one level's array, for tensorstore, which reads those of no group."""
    sides = size_of(plan.info.voxel_size_nm, level.factor)
    return {"dimension_units": [f"{side:.12g} nm" for side in sides]}


def _dataset(plan: Plan, level: Level) -> dict[str, Any]:
    """A level's place: the centre of its first voxel, which is that of the voxels in it."""
    size, origin = plan.info.voxel_size_nm, plan.info.origin_nm
    first = centre_of(plan.region.start, size, origin, level.factor)
    scale = {"type": "scale", "scale": list(size_of(size, level.factor))}
    shift = {"type": "translation", "translation": list(first)}
    return {"path": str(level.number), "coordinateTransformations": [scale, shift]}


def _shown(plan: Plan, layer: Layer) -> tuple[float, float]:
    """The values that are shown black and white."""
    known = plan.spec.source.intensity
    if layer == "measured":  # a share
        return 0.0, 1.0
    if layer in ERRORS:
        return (-known.std, known.std) if known else (-SPREAD, SPREAD)
    if layer not in GREY:
        return 0.0, known.std if known else SPREAD
    if known and plan.info.dtype != "uint8":
        return known.mean - STDS * known.std, known.mean + STDS * known.std
    return 0.0, 255.0
