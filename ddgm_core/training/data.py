"""Training patches: any position, orientation and noise level, each a function of its index."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

SIGMA_RANGE = (0.03, 30.0)  # paper, section 3: the interval of log σ


@dataclass(frozen=True)
class Volume:
    """A volume to draw patches from: (z, y, x) grey levels, and its share of the patches."""

    name: str
    data: np.ndarray
    share: float


def random_patch(volume: np.ndarray, patch: int, rng: np.random.Generator) -> np.ndarray:
    """A (patch, patch) view at a random position, in a random orientation, flip and transpose.

    Raises:
        ValueError: the volume has no two axes of at least `patch` voxels.
    """
    planes = [
        (a, b) for a in range(3) for b in range(a) if min(volume.shape[a], volume.shape[b]) >= patch
    ]
    if not planes:
        raise ValueError(f"a volume of {volume.shape} voxels holds no patch of {patch} x {patch}")
    a, b = planes[rng.integers(len(planes))]
    index: list[int | slice] = [int(rng.integers(n)) for n in volume.shape]
    for axis in (a, b):
        start = int(rng.integers(volume.shape[axis] - patch + 1))
        index[axis] = slice(start, start + patch)
    image = np.rot90(volume[tuple(index)], int(rng.integers(4)))
    return image.T if rng.integers(2) else image


class NoisyPatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless (σε + x, ε) pairs, each (1, patch, patch) float32, from sample `start` on.

    log σ is uniform over `SIGMA_RANGE` (paper, section 3). Sample i depends on (seed, i)
    alone, so a training that is resumed sees what an undisturbed one would have seen.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        mean: float,
        std: float,
        patch: int = 128,
        seed: int = 0,
        start: int = 0,
    ) -> None:
        self.volumes, self.mean, self.std = list(volumes), mean, std
        self.patch, self.seed, self.start = patch, seed, start
        self.shares = np.cumsum([v.share for v in volumes]) / sum(v.share for v in volumes)

    def sample(self, i: int) -> tuple[Tensor, Tensor]:
        """The i-th pair of noisy image and noise."""
        rng = np.random.default_rng((self.seed, i))
        volume = self.volumes[int(np.searchsorted(self.shares, rng.random(), side="right"))]
        x = (random_patch(volume.data, self.patch, rng).astype(np.float32) - self.mean) / self.std
        sigma = math.exp(rng.uniform(math.log(SIGMA_RANGE[0]), math.log(SIGMA_RANGE[1])))
        noise = rng.standard_normal(x.shape, dtype=np.float32)
        noisy = x + np.float32(sigma) * noise
        return torch.from_numpy(noisy)[None], torch.from_numpy(noise)[None]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        info = get_worker_info()
        if info is not None and info.num_workers > 1:
            raise ValueError("NoisyPatches runs in one loader process: batches are in order")
        i = self.start
        while True:
            yield self.sample(i)
            i += 1


def fixed_patches(
    volume: np.ndarray, count: int, mean: float, std: float, patch: int = 128, seed: int = 0
) -> Tensor:
    """(count, 1, patch, patch) normalised patches at random but fixed places of a volume."""
    rng = np.random.default_rng(seed)
    patches = np.stack([random_patch(volume, patch, rng) for _ in range(count)])
    return torch.from_numpy((patches.astype(np.float32) - mean) / std)[:, None]
