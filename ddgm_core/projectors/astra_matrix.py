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
    """ASTRA's geometry of the views, on a grid of squares: its kernel knows no other pixels."""
    import astra

    if geometry.detector == "perpendicular" and geometry.aspect == 1:
        return astra.create_proj_geom("parallel", 1.0, geometry.bins, np.asarray(geometry.angles))
    return astra.create_proj_geom("parallel_vec", geometry.bins, beam_vectors(geometry))


def beam_vectors(
    geometry: TiltGeometry, shift: np.ndarray | None = None, parts: int = 1
) -> np.ndarray:
    """ASTRA's vectors of the views, (views, 6): beam, the detector's centre, and one bin along it.

    Stretching pixels to squares turns beams to `pixel_angles` and leaves the middle row, where
    beams meet the detector, as it is: there a perpendicular detector's bins are 1 / cos θ wide.

    Args:
        geometry: the views.
        shift: of each view's detector, in bins.
        parts: that each bin is cut into.
    """
    angles, tilts = np.asarray(geometry.angles), np.asarray(geometry.pixel_angles)
    zero = np.zeros_like(angles)
    side = np.ones_like(angles) if geometry.detector == "lateral" else 1 / np.cos(angles)
    centre = zero if shift is None else side * shift
    return np.stack([np.sin(tilts), -np.cos(tilts), centre, zero, side / parts, zero], axis=1)


def row_lengths(geometry: TiltGeometry) -> np.ndarray:
    """Length of each view's beams within a row, over that on a grid of squares; (views,)."""
    return np.cos(geometry.pixel_angles) / np.cos(geometry.angles)


def _lengths(geometry: TiltGeometry) -> dia_matrix:
    from scipy.sparse import diags

    return diags(np.repeat(row_lengths(geometry), geometry.bins))
