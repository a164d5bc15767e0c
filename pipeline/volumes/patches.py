"""Real patches, at random places of a volume, read one by one and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddgm.core.training.data import PatchError
from ddgm.pipeline.volumes.array import ArrayVolume
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import Volume


def random_patches(
    volume: Volume | ArrayVolume,
    box: Box,
    side: int,
    count: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """(count, side, side) grey levels, float32, in every orientation that fits.

    Args:
        volume: where they come from.
        box: the part of it to draw from.
        side: of a patch, in voxels.
        count: how many.
        seed: of their places.
        progress: called as progress(done, total), in patches.

    Raises:
        PatchError: the box holds no patch.
        SourceError: it cannot be read.
    """
    patches = []
    for done, plane in enumerate(random_planes(box, side, count, seed), 1):
        patches.append(volume.read(plane).data.astype(np.float32).reshape(side, side))
        if progress is not None:
            progress(done, count)
    return np.stack(patches)


def random_planes(box: Box, side: int, count: int, seed: int) -> list[Box]:
    """Squares of `side` voxels, one voxel thin, anywhere in a box and in every orientation.

    Raises:
        PatchError: the box has no two axes that are long enough.
    """
    rng = np.random.default_rng(seed)
    shapes = [tuple(1 if axis == normal else side for axis in range(3)) for normal in range(3)]
    fitting = [s for s in shapes if all(n >= m for n, m in zip(box.shape, s, strict=True))]
    if not fitting:
        raise PatchError(f"box {box} holds no patch of {side} x {side} voxels; choose a larger one")
    planes = []
    for shape in rng.choice(fitting, count):
        start = box.start + rng.integers(np.subtract(box.shape, shape) + 1)
        planes.append(Box(tuple(start.tolist()), tuple((start + shape).tolist())))
    return planes
