"""Ray sums by any of ASTRA's kernels, ray by ray and without a matrix."""

from __future__ import annotations

import numpy as np

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors.astra_matrix import beam_vectors, row_lengths


def ray_sums(
    x: np.ndarray,
    geometry: TiltGeometry,
    kernel: str = "linear",
    subsampling: int = 1,
    shift: np.ndarray | None = None,
) -> np.ndarray:
    """Ax of slices, by rays that ASTRA follows one by one; as slow as it is general.

    Args:
        x: (n, thickness, width).
        geometry: the slices and their views.
        kernel: ASTRA's name of it.
        subsampling: parts that each pixel and each bin is cut into, along each axis; a bin's value
            is the mean of its parts.
        shift: of each view along the detector, in bins.

    Returns:
        (n, views, bins), float32.
    """
    import astra

    n, height, width = subsampling, geometry.thickness, geometry.width
    sides = -width / 2, width / 2, -height / 2, height / 2
    pixels = astra.create_vol_geom(height * n, width * n, *sides)
    vectors = beam_vectors(geometry, shift, parts=n)
    views = astra.create_proj_geom("parallel_vec", geometry.bins * n, vectors)
    projector = astra.create_projector(kernel, views, pixels)
    lengths = row_lengths(geometry)[:, None].astype(np.float32)
    out = np.empty((len(x), geometry.views, geometry.bins), np.float32)
    try:
        for one, sums in zip(x, out, strict=True):
            fine = np.kron(one, np.ones((n, n), np.float32)).astype(np.float32)
            made, rays = astra.create_sino(fine, projector)
            astra.data2d.delete(made)
            sums[:] = lengths * rays.reshape(*sums.shape, n).mean(axis=-1)
    finally:
        astra.projector.delete(projector)
    return out
