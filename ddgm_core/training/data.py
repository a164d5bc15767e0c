"""Training patches: any position, orientation and noise level, each a function of its number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ddgm.core.errors import DdgmError
from ddgm.core.training.brick_schedule import BrickSchedule
from ddgm.core.training.recipe import Recipe

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


def planes(shape: Sequence[int], patch: int, channels: int = 1) -> list[tuple[int, int]]:
    """Pairs of axes along which `channels` neighbouring patches fit into a volume.

    Raises:
        PatchError: there are none.
    """
    pairs = [(a, b) for a in range(3) for b in range(a) if min(shape[a], shape[b]) >= patch]
    found = [(a, b) for a, b in pairs if shape[3 - a - b] >= channels]
    if not found:
        size = ", ".join(f"{axis} {n}" for axis, n in zip(AXES, shape, strict=True))
        raise PatchError(
            f"a volume of {size} voxels holds no patch of {patch} x {patch}"
            f"{f' x {channels}' if channels > 1 else ''}; give a larger box or make `patch` smaller"
        )
    return found


def random_patch(
    volume: np.ndarray, patch: int, rng: np.random.Generator, channels: int = 1
) -> np.ndarray:
    """A (channels, patch, patch) view of neighbours, at a random place, turned and flipped.

    Raises:
        PatchError: the volume has no two axes of at least `patch` voxels, or its third is shorter
            than `channels`.
    """
    options = planes(volume.shape, patch, channels)
    a, b = options[rng.integers(len(options))]
    starts = [int(rng.integers(n - channels + 1)) for n in volume.shape]
    sides = [channels] * 3
    for axis in (a, b):
        starts[axis] = int(rng.integers(volume.shape[axis] - patch + 1))
        sides[axis] = patch
    view = volume[tuple(slice(s, s + n) for s, n in zip(starts, sides, strict=True))]
    stack = np.rot90(np.moveaxis(view, 3 - a - b, 0), int(rng.integers(4)), axes=(1, 2))
    stack = stack.swapaxes(1, 2) if rng.integers(2) else stack
    return stack[::-1] if channels > 1 and rng.integers(2) else stack


def random_slices(
    volume: np.ndarray, sides: tuple[int, int], rng: np.random.Generator, count: int = 1
) -> np.ndarray:
    """A (count, rows, columns) view of neighbouring slices, at a random place, along any axes.

    Raises:
        PatchError: no such slices fit.
    """
    pairs = slice_axes(volume.shape, sides, count)
    rows, columns = pairs[rng.integers(len(pairs))]
    starts = [int(rng.integers(max(n - count + 1, 1))) for n in volume.shape]
    lengths = [count] * 3
    for axis, side in ((rows, sides[0]), (columns, sides[1])):
        starts[axis] = int(rng.integers(volume.shape[axis] - side + 1))
        lengths[axis] = side
    view = volume[tuple(slice(s, s + n) for s, n in zip(starts, lengths, strict=True))]
    view = np.moveaxis(view, (rows, columns), (1, 2))
    view = view[:, :: rng.choice((1, -1)), :: rng.choice((1, -1))]
    return view if count == 1 else view[:: rng.choice((1, -1))]


def slice_axes(
    shape: Sequence[int], sides: tuple[int, int], count: int = 1
) -> list[tuple[int, int]]:
    """Pairs of axes, of rows and of columns, along which `count` slices of these sides fit.

    Raises:
        PatchError: there are none.
    """
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    found = [
        (a, b)
        for a, b in pairs
        if shape[a] >= sides[0] and shape[b] >= sides[1] and shape[3 - a - b] >= count
    ]
    if not found:
        size = ", ".join(f"{axis} {n}" for axis, n in zip(AXES, shape, strict=True))
        raise PatchError(
            f"a volume of {size} voxels holds no slice of {sides[0]} x {sides[1]}"
            f"{f' x {count}' if count > 1 else ''}; give a larger box or narrower slices"
        )
    return found


@dataclass(frozen=True)
class Drawing:
    """Draws a part of the volumes for each number.

    Attributes:
        volumes: where patches come from.
        mean, std: x = (grey - mean) / std.
        seed: of all that is drawn; number i depends on (seed, i) alone, so a training that is
            resumed, or fed by more processes, sees the same.
    """

    volumes: tuple[PatchSource, ...]
    mean: float
    std: float
    seed: int = 0

    @cached_property
    def shares(self) -> np.ndarray:
        """Each volume's share of the patches; they sum to 1."""
        shares = np.array([v.share for v in self.volumes])
        return shares / shares.sum()

    def brick(self, i: int) -> tuple[np.ndarray, np.random.Generator]:
        """The brick that number i comes from, and what draws all else of it."""
        rng, bounds = np.random.default_rng((self.seed, i)), np.cumsum(self.shares)
        v = min(int(np.searchsorted(bounds, rng.random(), "right")), len(self.volumes) - 1)
        window = self.volumes[v].window(self.drawn(v, i))
        return self.volumes[v].bricks[window[rng.integers(len(window))]], rng

    def normalised(self, grey: np.ndarray) -> np.ndarray:
        """Grey levels as x, float32."""
        return (grey.astype(np.float32) - self.mean) / self.std

    def drawn(self, v: int, i: int) -> int:
        """Patches that volume v has given before number i, on average."""
        return int(i * self.shares[v])


class NoisyPatches(Dataset[tuple[Tensor, Tensor, np.float32]]):
    """Endless noisy images x + σε, the noise ε of the middle one, and σ, all float32.

    Images are (channels, patch, patch), neighbours of one volume; the noise is (1, patch, patch).

    log σ is uniform over the log of `sigma_range` (paper, section 3).

    Args:
        drawing: where patches come from.
        patch: side, in pixels.
        sigma_range: lowest and highest σ.
        channels: neighbouring images, an odd number.
    """

    def __init__(
        self,
        drawing: Drawing,
        patch: int = 128,
        sigma_range: tuple[float, float] = (0.03, 30.0),
        channels: int = 1,
    ) -> None:
        self.drawing, self.patch, self.channels = drawing, patch, channels
        self.log_sigma = math.log(sigma_range[0]), math.log(sigma_range[1])

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, np.float32]:
        brick, rng = self.drawing.brick(i)
        x = self.drawing.normalised(random_patch(brick, self.patch, rng, self.channels))
        sigma = np.float32(math.exp(rng.uniform(*self.log_sigma)))
        noise = rng.standard_normal(x.shape, dtype=np.float32)
        middle = self.channels // 2
        return (
            torch.from_numpy(x + sigma * noise),
            torch.from_numpy(noise[middle : middle + 1]),
            sigma,
        )


class TiltedSlices(Dataset[tuple[Tensor, Tensor]]):
    """Endless neighbouring slices x, and unit noise of their sinograms.

    They are (stack, thickness, width) and (stack, views, bins).

    Args:
        drawing: where slices come from.
        recipe: of a network that restores, with the tilt series.
    """

    def __init__(self, drawing: Drawing, recipe: Recipe) -> None:
        self.drawing, self.recipe = drawing, recipe

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        recipe, (brick, rng) = self.recipe, self.drawing.brick(i)
        g = recipe.conditions(i // recipe.batch).geometry
        sides = g.thickness, g.width
        x = self.drawing.normalised(random_slices(brick, sides, rng, recipe.stack))
        noise = rng.standard_normal((recipe.stack, g.views, g.bins), dtype=np.float32)
        return torch.from_numpy(x), torch.from_numpy(noise)


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
