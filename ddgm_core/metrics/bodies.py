"""Bodies: from a map of membranes to labels, and how far two labellings are apart."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from ddgm.core.errors import DdgmError

MEMBRANE = 0.5  # probability from which a voxel is one
SMOOTH, WINDOW = 1.5, 3  # voxels: of the distance to membranes, and of its maxima
CENTRE = 0.3  # smoothed distance that the middle of a fragment has at least
JOINED = 0.6  # mean probability of a border below which the fragments beside it are one body


class ScikitImageError(DdgmError):
    """The package that segments and scores bodies is not there."""


@dataclass(frozen=True)
class Apart:
    """Distance of a segmentation from the true bodies.

    Attributes:
        split: bits by which it cuts bodies up, H(segmentation | truth).
        merge: bits by which it joins bodies, H(truth | segmentation).
        rand: adapted Rand error, 1 less the F-score of pairs of voxels.
    """

    split: float
    merge: float
    rand: float

    @property
    def vi(self) -> float:
        """Variation of information, in bits."""
        return self.split + self.merge


def apart(segmentation: np.ndarray, labels: np.ndarray) -> Apart:
    """Variation of information and adapted Rand error (scikit-image), without label 0.

    Args:
        segmentation: labels from 1, (z, y, x).
        labels: the true ones, as segmentation; 0 is none. A body that comes apart within the
            volume counts as several: what joins it cannot be seen.

    Raises:
        ScikitImageError: scikit-image is not there.
    """
    _check()
    from skimage.measure import label
    from skimage.metrics import adapted_rand_error, variation_of_information

    pieces = label(labels, background=0, connectivity=1)
    split, merge = variation_of_information(pieces, segmentation, ignore_labels=[0])
    error = adapted_rand_error(pieces, segmentation, ignore_labels=[0])[0]
    return Apart(float(split), float(merge), float(error))


def segmented(probability: np.ndarray) -> np.ndarray:
    """Bodies of a map of membranes: a watershed's fragments, joined across weak borders.

    Seeds are the maxima of the distance to a membrane. Then the two fragments whose border has the
    lowest mean probability become one, again and again, up to `JOINED` (as waterz does).

    Args:
        probability: of a membrane, (z, y, x).

    Returns:
        Labels from 1, of the same shape.

    Raises:
        ScikitImageError: scikit-image is not there.
    """
    fragments = _fragments(probability)
    return _joined(fragments, probability)[fragments]


def _fragments(probability: np.ndarray) -> np.ndarray:
    _check()
    from scipy import ndimage
    from skimage.segmentation import watershed

    inside = probability < MEMBRANE
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), SMOOTH)
    top = (distance == ndimage.maximum_filter(distance, WINDOW)) & (distance > CENTRE)
    seeds: np.ndarray = ndimage.label(top, np.ones((3, 3, 3)))[0]  # type: ignore[index]
    if not seeds.any():  # membranes everywhere
        return np.ones(probability.shape, np.int32)
    return watershed(probability - 0.02 * distance, seeds)  # flat regions meet half way


def _joined(fragments: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The body of each fragment, by its number; each with a fragment's own number."""
    count = int(fragments.max()) + 1
    beside: list[dict[int, tuple[float, int]]] = [{} for _ in range(count)]
    queue = []
    for i, j, total, area in _borders(fragments, probability):
        beside[i][j] = beside[j][i] = total, area
        queue.append((total / area, i, j, area))
    heapq.heapify(queue)
    body = np.arange(count)
    while queue:
        mean, i, j, area = heapq.heappop(queue)
        if mean > JOINED:
            break
        if j not in beside[i] or beside[i][j][1] != area:  # one of them is part of another by now
            continue
        keep, gone = (i, j) if len(beside[i]) >= len(beside[j]) else (j, i)
        body[gone] = keep
        for k, (total, area) in _taken(beside, gone):
            if k == keep:
                continue
            before = beside[keep].get(k, (0.0, 0))
            both = total + before[0], area + before[1]
            beside[keep][k] = beside[k][keep] = both
            heapq.heappush(queue, (both[0] / both[1], min(keep, k), max(keep, k), both[1]))
    while (body[body] != body).any():
        body = body[body]
    return body


def _taken(
    beside: list[dict[int, tuple[float, int]]], gone: int
) -> list[tuple[int, tuple[float, int]]]:
    """The borders of a fragment, which is taken out."""
    borders = list(beside[gone].items())
    beside[gone] = {}
    for k, _ in borders:
        del beside[k][gone]
    return borders


def _borders(fragments: np.ndarray, probability: np.ndarray) -> list[tuple[int, int, float, int]]:
    """Each pair of neighbours i < j, the sum of probabilities on their faces, and their number."""
    pairs, values, count = [], [], int(fragments.max()) + 1
    for axis in range(3):
        f, p = np.moveaxis(fragments, axis, 0), np.moveaxis(probability, axis, 0)
        differs = f[1:] != f[:-1]
        one, other = f[1:][differs].astype(np.int64), f[:-1][differs].astype(np.int64)
        pairs.append(np.minimum(one, other) * count + np.maximum(one, other))
        values.append(np.maximum(p[1:], p[:-1])[differs])
    keys, place = np.unique(np.concatenate(pairs), return_inverse=True)
    totals = np.bincount(place, np.concatenate(values).astype(np.float64), len(keys))
    areas = np.bincount(place, minlength=len(keys))
    ends = (keys // count).tolist(), (keys % count).tolist()
    return list(zip(*ends, totals.tolist(), areas.tolist(), strict=True))


def _check() -> None:
    try:
        import skimage  # noqa: F401
    except ModuleNotFoundError:
        raise ScikitImageError(
            "scikit-image is not installed, which segments and scores bodies; "
            "pip install 'ddgm[evaluate]'"
        ) from None
