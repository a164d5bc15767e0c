"""Realism of generated images: three statistics, and their distance from those of real patches.

A distance means something only beside another one, so each is given next to the same distance
from real patches to other real patches, as many of them: no generator can be expected to beat it.
All patches are normalised, (n, side, side).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SPLITS = 10


@dataclass(frozen=True)
class Distance:
    """Distances of generated patches from real ones, and of real ones from each other.

    Attributes:
        generated: from the generated patches to as many real ones.
        real: from these real ones to as many others.
    """

    generated: float
    real: float


@dataclass(frozen=True)
class Realism:
    """Distances of the three statistics, lower is better.

    Attributes:
        spectrum: root mean square difference of log10 of the radial power spectrum, in decades.
        intensity: 1-Wasserstein distance of the pixels' values, normalised units.
        gradient: the same of the gradients' magnitudes, normalised units per pixel.
    """

    spectrum: Distance
    intensity: Distance
    gradient: Distance


def compare(generated: np.ndarray, real: np.ndarray, splits: int = SPLITS) -> Realism:
    """Score n generated patches against 2n real ones.

    The real patches are halved at random, `splits` times over: the generated ones are held
    against each half, and the halves against each other; the distances are means over splits.
    Real patches that overlap make the distance of real to real smaller than it should be.

    Raises:
        ValueError: there are not twice as many real patches, or they differ in size.
    """
    n = len(generated)
    if n < 1 or real.shape != (2 * n, *generated.shape[1:]):
        raise ValueError(
            f"{generated.shape} generated patches need twice as many real ones of their size, "
            f"not {real.shape}"
        )
    rng = np.random.default_rng(0)
    halves = [np.split(rng.permutation(2 * n), 2) for _ in range(splits)]

    def distance(statistic: Statistic, apart: Apart) -> Distance:
        ours, theirs = statistic(generated), statistic(real)
        pairs = [(theirs[a], theirs[b]) for a, b in halves]
        return Distance(
            float(np.mean([(apart(ours, a) + apart(ours, b)) / 2 for a, b in pairs])),
            float(np.mean([apart(a, b) for a, b in pairs])),
        )

    return Realism(
        distance(radial_power, spectrum_distance),
        distance(lambda x: x, wasserstein),
        distance(gradient_magnitude, wasserstein),
    )


Statistic = Callable[[np.ndarray], np.ndarray]
Apart = Callable[[np.ndarray, np.ndarray], float]


def radial_power(patches: np.ndarray) -> np.ndarray:
    """Power spectral density of each patch, less its mean, averaged over rings of frequency.

    Under a Hann window, whose power is divided out: white noise of variance v has power v at
    every frequency, but for the first ring, where the mean takes some of it along.

    Args:
        patches: (n, side, side).

    Returns:
        (n, side // 2); ring k, from 1, is of the frequencies nearest to k / side cycles a pixel.
    """
    side = patches.shape[-1]
    window = np.outer(*2 * [np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2])
    frequency = np.fft.fftfreq(side, 1 / side)
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int).ravel()
    count = np.bincount(ring)
    spectra = []
    for patch in patches:  # one at a time: the transforms are four times the patches' size
        power = np.abs(np.fft.fft2(window * (patch - patch.mean()))) ** 2 / (window**2).sum()
        spectra.append(np.bincount(ring, power.ravel()) / count)
    return np.stack(spectra)[:, 1 : side // 2 + 1]


def gradient_magnitude(patches: np.ndarray) -> np.ndarray:
    """Length of the differences to the next pixels, (n, side - 1, side - 1)."""
    down, right = np.diff(patches, axis=1)[:, :, :-1], np.diff(patches, axis=2)[:, :-1]
    return np.hypot(down, right)


def spectrum_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference, over rings, of log10 of the mean power of two groups.

    Args:
        a, b: powers of each patch, (n, rings), as `radial_power` gives them.
    """
    ours, theirs = (np.log10(np.maximum(p.mean(axis=0), 1e-12)) for p in (a, b))
    return float(np.sqrt(np.mean((ours - theirs) ** 2)))


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """1-Wasserstein distance of two groups of equally many values: how far one has to be moved.

    Raises:
        ValueError: one has more values than the other.
    """
    if a.size != b.size:
        raise ValueError(f"{a.size} and {b.size} values: as many are needed of one as of the other")
    return float(np.abs(np.sort(a, axis=None) - np.sort(b, axis=None)).mean(dtype=np.float64))
