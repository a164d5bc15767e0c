"""Membranes: voxels where two bodies meet, and how well a prediction finds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = ((0, 30), (30, 60), (60, 90))  # degrees between a membrane and the beam
FINE, COARSE = 1.0, 2.0  # voxels over which a mask is smoothed, and its slopes are averaged


def label_edges(labels: np.ndarray) -> np.ndarray:
    """Voxels one of whose six neighbours has another label, as a mask: two voxels a membrane.

    Args:
        labels: of bodies, (z, y, x).
    """
    edges = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        values, found = np.moveaxis(labels, axis, 0), np.moveaxis(edges, axis, 0)
        differs = values[1:] != values[:-1]
        found[1:] |= differs
        found[:-1] |= differs
    return edges


def angles_to_beam(membranes: np.ndarray, beam: int) -> np.ndarray:
    """Angle between the membrane at each voxel and the beam, in degrees.

    0 is a membrane that runs along the beam at tilt 0, and 90 one that lies across it, which a
    limited range of tilts loses. The membrane's normal is the main direction of the slopes around
    it (a structure tensor).

    Args:
        membranes: a mask, (z, y, x).
        beam: axis that the beam runs along at tilt 0.

    Returns:
        (n,), at the voxels of the mask in their order.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(membranes.astype(np.float32), FINE)
    slopes = np.gradient(smooth)
    tensor = np.empty((int(membranes.sum()), 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            mean = ndimage.gaussian_filter(slopes[i] * slopes[j], COARSE)[membranes]
            tensor[:, i, j] = tensor[:, j, i] = mean
    normal = np.linalg.eigh(tensor)[1][:, :, -1]
    return np.degrees(np.arcsin(np.clip(np.abs(normal[:, beam]), 0, 1)))


@dataclass(frozen=True)
class Found:
    """Precision and recall of predicted membranes, at a tolerance.

    Attributes:
        precision: share of the predicted voxels that have a true one near.
        recall: share of the true voxels that have a predicted one near.
    """

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def boundary_scores(
    predicted: np.ndarray, true: np.ndarray, beam: int, tolerance: float
) -> dict[str, Found]:
    """Boundary precision and recall at a tolerance, of all membranes and by angle to the beam.

    A class of angles has the recall of the true voxels whose membrane lies so, and the precision
    of the predicted ones whose own does.

    Args:
        predicted: a mask of membranes, (z, y, x).
        true: as predicted; of labels, `label_edges`.
        beam: axis that the beam runs along at tilt 0.
        tolerance: voxels that a predicted voxel may lie off.

    Returns:
        Under "all", and "0-30" and the other `CLASSES` in degrees. NaN where there are none.
    """
    hit, seen = _near(predicted, true, tolerance), _near(true, predicted, tolerance)
    theirs, ours = angles_to_beam(predicted, beam), angles_to_beam(true, beam)
    found = {"all": Found(_mean(hit), _mean(seen))}
    for low, high in CLASSES:
        chosen = [(low <= a) & ((a < high) | (high == 90)) for a in (theirs, ours)]
        found[f"{low}-{high}"] = Found(_mean(hit[chosen[0]]), _mean(seen[chosen[1]]))
    return found


def _near(mask: np.ndarray, other: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether each voxel of a mask has one of the other within the tolerance."""
    from scipy import ndimage

    if not other.any():
        return np.zeros(int(mask.sum()), bool)
    distance = np.asarray(ndimage.distance_transform_edt(~other))
    return distance[mask] <= tolerance


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
