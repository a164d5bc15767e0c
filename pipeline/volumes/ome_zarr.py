"""Axes, voxel size and offset of an OME-Zarr image, 0.4 or 0.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ddgm.pipeline.volumes.coordinates import Point, exact, origin_of

SPACE = "zyx"
NANOMETRES = {
    "angstrom": Decimal("0.1"),
    "picometer": Decimal("0.001"),
    "nanometer": Decimal(1),
    "micrometer": Decimal(10) ** 3,
    "millimeter": Decimal(10) ** 6,
    "centimeter": Decimal(10) ** 7,
    "meter": Decimal(10) ** 9,
}
SYMBOLS = {
    "å": "angstrom",
    "pm": "picometer",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "micron": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
}


class OmeError(ValueError):
    """Metadata that do not describe one image in z, y and x."""


@dataclass(frozen=True)
class OmeLevel:
    """One resolution of an image.

    Attributes:
        path: of its array within the group.
        axes: a letter for each of the array's axes, slowest first, such as "tczyx".
        voxel_size_nm: (z, y, x); None where an axis has no unit.
        origin_nm: the corner of the first voxel, (z, y, x); None where an axis has no unit.
    """

    path: str
    axes: str
    voxel_size_nm: Point | None
    origin_nm: Point | None


def ome_levels(attributes: Mapping[str, Any]) -> list[OmeLevel]:
    """The resolutions of the image that a zarr group's attributes describe, finest first.

    Raises:
        OmeError: they describe no image, or one that is not in z, y and x.
    """
    # 0.5 has all below one key
    images = _mapping(attributes.get("ome", attributes)).get("multiscales")
    if not isinstance(images, Sequence) or not images:
        raise OmeError("a zarr group that is no OME image; name the array or the image inside it")
    image = _mapping(images[0])
    datasets = image.get("datasets")
    if not isinstance(datasets, Sequence) or not datasets:
        raise OmeError("an OME image without datasets")
    axes, units = _axes(image.get("axes"))
    return [_level(_mapping(dataset), image, axes, units) for dataset in datasets]


def _axes(found: Any) -> tuple[str, list[Decimal | None]]:
    """The axes' letters, and the nanometres in a unit of each."""
    listed = found if isinstance(found, Sequence) and found else "tczyx"  # 0.1 and 0.2 say none
    entries = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in listed]  # 0.3
    names = [str(axis.get("name", "")).lower() for axis in entries]
    if any(len(name) != 1 for name in names) or {*SPACE} - {*names} or len({*names}) < len(names):
        raise OmeError(f"axes {', '.join(names)} where z, y and x are needed")
    units = [axis.get("unit") for axis in entries]
    for name, unit in zip(names, units, strict=True):
        if name in SPACE and unit is not None and nanometres(unit) is None:
            raise OmeError(f"axis {name} is in {unit}, which is no unit of length that is known")
    return "".join(names), [nanometres(unit) for unit in units]


def nanometres(unit: Any) -> Decimal | None:
    """The nanometres in a unit of length, by its name or symbol; None for all else."""
    name = str(unit)
    return NANOMETRES.get(SYMBOLS.get(name, SYMBOLS.get(name.lower(), name.lower())))


def _level(
    dataset: Mapping[str, Any],
    image: Mapping[str, Any],
    axes: str,
    units: Sequence[Decimal | None],
) -> OmeLevel:
    """One dataset, with the image's own transformations after the dataset's."""
    scale, shift = [Decimal(1)] * len(axes), [Decimal(0)] * len(axes)
    for owner in (dataset, image):
        for step in owner.get("coordinateTransformations") or []:
            kind = _mapping(step).get("type")
            if kind == "identity":
                continue
            values = _numbers(step.get(kind), len(axes), kind)
            if kind == "scale":
                scale = [a * b for a, b in zip(scale, values, strict=True)]
                shift = [a * b for a, b in zip(shift, values, strict=True)]
            else:
                shift = [a + b for a, b in zip(shift, values, strict=True)]
    path = dataset.get("path")
    if not isinstance(path, str):
        raise OmeError("a dataset without a path")
    where = [axes.index(axis) for axis in SPACE]
    if any(scale[i] <= 0 for i in where):
        raise OmeError(f"a scale of {', '.join(str(scale[i]) for i in where)}; it must be above 0")
    factors = [units[i] for i in where]
    if None in factors:
        return OmeLevel(path, axes, None, None)
    size, centre = (
        [float(values[i] * f) for i, f in zip(where, factors, strict=True) if f is not None]
        for values in (scale, shift)
    )
    return OmeLevel(path, axes, (size[0], size[1], size[2]), origin_of(centre, size))


def _numbers(values: Any, count: int, kind: Any) -> list[Decimal]:
    if kind not in ("scale", "translation"):
        raise OmeError(f"a coordinate transformation of type {kind}; known: scale, translation")
    try:
        numbers = [exact(value) for value in values]
    except (TypeError, ValueError) as error:
        raise OmeError(f"a {kind} of {values}, where {count} numbers are needed") from error
    if len(numbers) != count or not all(number.is_finite() for number in numbers):
        raise OmeError(f"a {kind} of {values}, where {count} numbers are needed")
    return numbers


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
