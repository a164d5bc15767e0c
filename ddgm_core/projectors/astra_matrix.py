"""ASTRA's projection matrix of a geometry: the one place where ASTRA is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ddgm.core.geometry import TiltGeometry

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix, dia_matrix


def projection_matrix(geometry: TiltGeometry) -> csr_matrix:
    """A as CSR float32: rows = views × bins, columns = thickness × width, Joseph's kernel.

    A sum along a beam is in units of the pixel's side along the thickness: at tilt 0 it is the
    plain sum over rows, whatever the pixels' sides, so that data have the same scale as those of
    squares, and noise the same share.

    Against a ray sum over pixels of constant grey, in float64 and averaged over each bin, the
    root mean square error is below 0.7 % on smooth slices for squares and for aspects of 0.1, 0.4
    and 2.5 (measured up to 60°). At an aspect of 10 it is 2 % at 30° and 9 % at 60°, since the
    kernel interpolates between rows, which are then 17 bins apart; against a ray sum through
    interpolated rows it is 0.2 %, away from the slice's edges. `linear` was measured to have the
    same norm as `line` and `strip` within 0.1 %, and its lateral geometry commutes with shifts to
    2e-5.
    """
    import astra

    volume = astra.create_vol_geom(geometry.thickness, geometry.width)
    projector = astra.create_projector("linear", _views(geometry), volume)
    matrix = astra.projector.matrix(projector)
    try:
        csr = astra.matrix.get(matrix)
    finally:
        astra.matrix.delete(matrix)
        astra.projector.delete(projector)
    if geometry.aspect != 1:
        csr = _lengths(geometry) @ csr
    csr = csr.astype(np.float32)
    csr.sort_indices()
    return csr


def _views(geometry: TiltGeometry) -> Any:
    """ASTRA's geometry of the views, on a grid of squares: its kernel knows no other pixels.

    Stretching pixels to squares turns beams to `pixel_angles` and leaves the middle row, where
    beams meet the detector, as it is: there a perpendicular detector's bins are 1 / cos θ wide.
    """
    import astra

    angles, tilts = np.asarray(geometry.angles), np.asarray(geometry.pixel_angles)
    if geometry.detector == "perpendicular" and geometry.aspect == 1:
        return astra.create_proj_geom("parallel", 1.0, geometry.bins, angles)
    zero = np.zeros_like(angles)
    side = np.ones_like(angles) if geometry.detector == "lateral" else 1 / np.cos(angles)
    ray = np.sin(tilts), -np.cos(tilts)  # detector centre (0, 0), one bin along (side, 0)
    vectors = np.stack([*ray, zero, zero, side, zero], axis=1)
    return astra.create_proj_geom("parallel_vec", geometry.bins, vectors)


def _lengths(geometry: TiltGeometry) -> dia_matrix:
    """Length of a beam within a row, over the length that it has on a grid of squares."""
    from scipy.sparse import diags

    ratio = np.cos(geometry.pixel_angles) / np.cos(geometry.angles)
    return diags(np.repeat(ratio, geometry.bins))
