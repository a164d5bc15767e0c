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
    channels: int = 1,
) -> np.ndarray:
    """(count, channels, side, side) grey levels, float32, in every orientation that fits.

    Args:
        volume: where they come from.
        box: the part of it to draw from.
        side: of a patch, in voxels.
        count: how many.
        seed: of their places.
        progress: called as progress(done, total), in patches.
        channels: neighbouring slices of each.

    Raises:
        PatchError: the box holds no patch.
        SourceError: it cannot be read.
    """
    patches = []
    for done, slab in enumerate(random_slabs(box, side, count, seed, channels), 1):
        grey = volume.read(slab).data.astype(np.float32)
        patches.append(np.moveaxis(grey, int(np.argmin(slab.shape)), 0))
        if progress is not None:
            progress(done, count)
    return np.stack(patches)


def random_slabs(box: Box, side: int, count: int, seed: int, channels: int = 1) -> list[Box]:
    """Squares of `side` voxels, `channels` thick, anywhere in a box and in every orientation.

    Raises:
        PatchError: the box has no two axes that are long enough, or its third is too short.
    """
    rng = np.random.default_rng(seed)
    shapes = [
        tuple(channels if axis == normal else side for axis in range(3)) for normal in range(3)
    ]
    fitting = [s for s in shapes if all(n >= m for n, m in zip(box.shape, s, strict=True))]
    if not fitting:
        raise PatchError(f"box {box} holds no patch of {side} x {side} voxels; choose a larger one")
    slabs = []
    for shape in rng.choice(fitting, count):
        start = box.start + rng.integers(np.subtract(box.shape, shape) + 1)
        slabs.append(Box(tuple(start.tolist()), tuple((start + shape).tolist())))
    return slabs
