"""ASTRA's projection matrix of a geometry: the one place where ASTRA is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ddgm.core.geometry import TiltGeometry

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def projection_matrix(geometry: TiltGeometry) -> csr_matrix:
    """A as CSR float32: rows = views × bins, columns = thickness × width, Joseph's kernel.

    `linear` was measured to have the same norm as `line` and `strip` within 0.1 %, and its
    lateral geometry commutes with shifts to 2e-5.
    """
    import astra

    angles = np.asarray(geometry.angles)
    volume = astra.create_vol_geom(geometry.thickness, geometry.width)
    if geometry.detector == "perpendicular":
        views = astra.create_proj_geom("parallel", 1.0, geometry.bins, angles)
    else:
        zero, one = np.zeros_like(angles), np.ones_like(angles)
        ray = np.sin(angles), -np.cos(angles)  # detector centre (0, 0), one bin along (1, 0)
        vectors = np.stack([*ray, zero, zero, one, zero], axis=1)
        views = astra.create_proj_geom("parallel_vec", geometry.bins, vectors)
    projector = astra.create_projector("linear", views, volume)
    matrix = astra.projector.matrix(projector)
    try:
        csr = astra.matrix.get(matrix).astype(np.float32)
    finally:
        astra.matrix.delete(matrix)
        astra.projector.delete(projector)
    csr.sort_indices()
    return csr
