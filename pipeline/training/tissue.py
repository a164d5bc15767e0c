"""The statistics of the tissue that a training was on, which are kept beside its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ddgm.core.intensity import Intensity
from ddgm.core.metrics.tissue import SIDE, Tissue, measure_tissue
from ddgm.pipeline.spec.base import nearly_equal
from ddgm.pipeline.training.data import TrainingVolume
from ddgm.pipeline.volumes.box import Box

MOST = 32  # bricks that are looked at, spread evenly: 128³ voxels of each at most


def training_tissue(
    volumes: Sequence[TrainingVolume], normal: Intensity, origin: str
) -> Tissue | None:
    """The statistics of volumes of cubes; None of others, and of those that are too small.

    Args:
        volumes: that were trained on.
        normal: that normalises them.
        origin: of them, in words.

    Raises:
        SourceError: they cannot be read.
    """
    size = volumes[0].bricks.volume.info.voxel_size_nm
    found = [(v, box) for v in volumes for box in v.bricks.boxes if min(box.shape) >= SIDE]
    if not found or not nearly_equal(size):
        return None
    picked = np.unique(np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int))

    def middles() -> Iterator[np.ndarray]:
        for volume, box in (found[k] for k in picked):
            yield normal.normalised(volume.bricks.volume.read(_middle(box)).data)

    return measure_tissue(middles(), max(size), origin)


def _middle(box: Box) -> Box:
    """The middle of a box, at most two cubes of `SIDE` along each axis."""
    sides = [min(n, 2 * SIDE) for n in box.shape]
    start = [a + (n - m) // 2 for a, n, m in zip(box.start, box.shape, sides, strict=True)]
    z, y, x = zip(start, sides, strict=True)
    return Box((z[0], y[0], x[0]), (sum(z), sum(y), sum(x)))
