"""OME-Zarr images as other programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr


def write_ome(
    path: Path,
    data: np.ndarray,
    *,
    version: Any = 3,
    axes: str = "zyx",
    scale: Sequence[float] = (16.0, 16.0, 16.0),
    translation: Sequence[float] | None = None,
    unit: str | None = "nanometer",
    coarser: np.ndarray | None = None,
    **options: Any,
) -> Path:
    """Write `data` as level 0 of an image, in 0.5 on zarr 3 or 0.4 on zarr 2; returns its path.

    Args:
        path: of the new group.
        data: with `axes`, (z, y, x) unless told otherwise.
        version: of zarr.
        axes: a letter for each of the array's axes; t and c have neither unit nor size.
        scale, translation: of the axes in space, in the order of `axes`.
        unit: of the axes in space; None leaves it out.
        coarser: level 1, at half the resolution.
        options: for zarr's create_array.
    """
    group = zarr.open_group(path, mode="w", zarr_format=version)
    levels = [data] if coarser is None else [data, coarser]
    for n, level in enumerate(levels):
        group.create_array(f"s{n}", data=level, **options)

    def spread(values: Sequence[float], filler: float) -> list[float]:
        inner = iter(values)
        return [next(inner) if axis in "zyx" else filler for axis in axes]

    def steps(n: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [
            {"type": "scale", "scale": spread([s * 2**n for s in scale], 1.0)}
        ]
        if translation is not None:
            found.append({"type": "translation", "translation": spread(translation, 0.0)})
        return found

    def axis(name: str) -> dict[str, str]:
        kind = {"t": "time", "c": "channel"}.get(name, "space")
        named = {"name": name, "type": kind}
        return named | {"unit": unit} if unit is not None and kind == "space" else named

    image: dict[str, Any] = {
        "axes": [axis(a) for a in axes],
        "datasets": [
            {"path": f"s{n}", "coordinateTransformations": steps(n)} for n in range(len(levels))
        ],
    }
    if version == 2:
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path
