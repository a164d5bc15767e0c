"""Training patches: any position, orientation and noise level, each a function of its number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ddgm.core.errors import DdgmError
from ddgm.core.training.brick_schedule import BrickSchedule

AXES = "zyx"


class PatchError(DdgmError):
    """A volume that patches cannot be drawn from."""


@dataclass(frozen=True)
class PatchSource:
    """A volume to draw patches from.

    Attributes:
        name: for messages and the card.
        bricks: parts of it, (z, y, x) grey levels, read when they are asked for.
        share: of the patches; relative to the other volumes'.
        schedule: which bricks are drawn from, and when; default: all, always.
    """

    name: str
    bricks: Sequence[np.ndarray]
    share: float = 1.0
    schedule: BrickSchedule | None = None

    def window(self, n: int) -> tuple[int, ...]:
        """Numbers of the bricks that this volume's n-th patch may come from."""
        return self.schedule.window(n) if self.schedule else tuple(range(len(self.bricks)))


def planes(shape: Sequence[int], patch: int) -> list[tuple[int, int]]:
    """Pairs of axes along which a patch fits into a volume.

    Raises:
        PatchError: there are none.
    """
    found = [(a, b) for a in range(3) for b in range(a) if min(shape[a], shape[b]) >= patch]
    if not found:
        size = ", ".join(f"{axis} {n}" for axis, n in zip(AXES, shape, strict=True))
        raise PatchError(
            f"a volume of {size} voxels holds no patch of {patch} x {patch}; give a larger box "
            "or make `patch` smaller"
        )
    return found


def random_patch(volume: np.ndarray, patch: int, rng: np.random.Generator) -> np.ndarray:
    """A (patch, patch) view at a random position, in a random orientation, flip and transpose.

    Raises:
        PatchError: the volume has no two axes of at least `patch` voxels.
    """
    options = planes(volume.shape, patch)
    a, b = options[rng.integers(len(options))]
    index: list[int | slice] = [int(rng.integers(n)) for n in volume.shape]
    for axis in (a, b):
        start = int(rng.integers(volume.shape[axis] - patch + 1))
        index[axis] = slice(start, start + patch)
    image = np.rot90(volume[tuple(index)], int(rng.integers(4)))
    return image.T if rng.integers(2) else image


class NoisyPatches(Dataset[tuple[Tensor, Tensor, np.float32]]):
    """Endless noisy images x + σε with their noise ε, (1, patch, patch) float32 each, and σ.

    log σ is uniform over the log of `sigma_range` (paper, section 3). Number i depends on
    (seed, i) alone, so a training that is resumed, or fed by more processes, sees the same.

    Args:
        volumes: where patches come from.
        mean, std: x = (grey - mean) / std.
        patch: side, in pixels.
        sigma_range: lowest and highest σ.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        volumes: Sequence[PatchSource],
        mean: float,
        std: float,
        patch: int = 128,
        sigma_range: tuple[float, float] = (0.03, 30.0),
        seed: int = 0,
    ) -> None:
        self.volumes, self.mean, self.std = list(volumes), mean, std
        self.patch, self.seed = patch, seed
        self.log_sigma = math.log(sigma_range[0]), math.log(sigma_range[1])
        shares = np.array([v.share for v in volumes])
        self.shares = shares / shares.sum()
        self.bounds = np.cumsum(self.shares)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, np.float32]:
        rng = np.random.default_rng((self.seed, i))
        v = min(int(np.searchsorted(self.bounds, rng.random(), "right")), len(self.volumes) - 1)
        window = self.volumes[v].window(self.drawn(v, i))
        brick = self.volumes[v].bricks[window[rng.integers(len(window))]]
        x = (random_patch(brick, self.patch, rng).astype(np.float32) - self.mean) / self.std
        sigma = np.float32(math.exp(rng.uniform(*self.log_sigma)))
        noise = rng.standard_normal(x.shape, dtype=np.float32)
        noisy = x + sigma * noise
        return torch.from_numpy(noisy)[None], torch.from_numpy(noise)[None], sigma

    def drawn(self, v: int, i: int) -> int:
        """Patches that volume v has given before number i, on average."""
        return int(i * self.shares[v])


class SequentialBatches(Sampler[list[int]]):
    """Batches of numbers of patches, 0, 1, 2, …, of which each device takes its part.

    Args:
        batch: patches to a batch.
        start: batches of this device that were taken before.
        device: which one this is, of `devices`; batch k · devices + device is its k-th.
    """

    def __init__(self, batch: int, start: int = 0, device: int = 0, devices: int = 1) -> None:
        self.batch, self.start, self.device, self.devices = batch, start, device, devices

    def __iter__(self) -> Iterator[list[int]]:
        k = self.start
        while True:
            first = (k * self.devices + self.device) * self.batch
            yield list(range(first, first + self.batch))
            k += 1
