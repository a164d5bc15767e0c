"""Gaussian noise that depends on where it falls, and on nothing else.

Each slice's noise comes from a counter-based generator (Philox 4 × 64) whose key is (seed,
purpose) and whose counter starts at (step, the slice's origin in the volume). So a slice gets
the same noise in any block, batch, worker, order or retry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Purpose = Literal["sinogram", "sampler", "generation", "views"]
SliceOrigin = tuple[int, int, int]

THREADS = 4  # that draw noise ahead


def numbered_origins(count: int, first: int = 0) -> list[SliceOrigin]:
    """Origins of slices of no volume, which differ by their numbers."""
    return [(0, 0, first + i) for i in range(count)]


@dataclass(frozen=True)
class NoiseField:
    """White Gaussian noise of unit variance over a whole volume, for one seed and purpose."""

    seed: int
    purpose: Purpose

    def slice(self, shape: tuple[int, ...], origin: SliceOrigin, step: int = 0) -> np.ndarray:
        """Noise of one slice or sinogram, float32.

        Args:
            shape: what is wanted.
            origin: the slice's first voxel in the whole volume (slab's depth, slab's lateral
                start, position along the tilt axis); each within ±2^31.
            step: of the sampler.
        """
        return self._fill(np.empty(shape, np.float32), origin, step)

    def _fill(self, out: np.ndarray, origin: SliceOrigin, step: int) -> np.ndarray:
        return self.generator(origin, step).standard_normal(dtype=np.float32, out=out)

    def generator(self, origin: SliceOrigin, step: int = 0) -> np.random.Generator:
        """The generator of a slice's noise; see `slice`."""
        purpose = int.from_bytes(hashlib.sha256(self.purpose.encode()).digest()[:8], "little")
        depth, lateral, along = (p % 2**32 for p in origin)
        # the lowest word counts the numbers drawn, so slices never run into each other
        # uint64 throughout: a list with words on both sides of 2^63 would become floats
        counter = np.array([0, step, depth << 32 | lateral, along], np.uint64)
        key = np.array([self.seed % 2**64, purpose], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def batch(
        self, shape: tuple[int, ...], origins: Sequence[SliceOrigin], step: int = 0
    ) -> Tensor:
        """Noise of several slices, (B, *shape), on the CPU."""
        return torch.from_numpy(np.stack([self.slice(shape, p, step) for p in origins]))

    def ahead(
        self,
        shape: tuple[int, ...],
        origins: Sequence[SliceOrigin],
        device: torch.device,
        end: int,
    ) -> Callable[[int], Tensor]:
        """`batch` on a device, as a function of the step; steps are asked for in order.

        For a GPU the next step's noise is drawn, in other threads, while this one's is worked with:
        it takes a core about as long as an H100 takes for a noise level (measured, see
        docs/results/speed.md).

        Args:
            shape, origins: as in `batch`.
            device: where (B, *shape) is wanted.
            end: the step after the last, which is not drawn.
        """
        if device.type == "cpu":
            return lambda step: self.batch(shape, origins, step)
        drawn: dict[int, tuple[Tensor, list[Future[np.ndarray]]]] = {}

        def draw(step: int) -> tuple[Tensor, list[Future[np.ndarray]]]:
            out = torch.empty(len(origins), *shape, pin_memory=device.type == "cuda")
            rows = zip(out.numpy(), origins, strict=True)
            return out, [_threads().submit(self._fill, row, origin, step) for row, origin in rows]

        def noise(step: int) -> Tensor:
            out, tasks = drawn.pop(step, None) or draw(step)
            if step + 1 < end:
                drawn[step + 1] = draw(step + 1)
            for task in tasks:
                task.result()
            return out.to(device, non_blocking=True)

        return noise


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "noise")
