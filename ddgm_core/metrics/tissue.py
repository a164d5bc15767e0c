"""The statistics of the tissue that a prior was trained on: its power at each frequency, its skew.

They are kept in a small JSON file beside the weights, which stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.core.files import atomic_write
from ddgm.core.networks.prior import packaged_prior, weights_path

FORMAT = "ddgm-tissue-1"
SIDE = 64  # voxels: of the cubes that powers are measured on
DETAIL = (0.05, 0.15)  # cycles a voxel, between which lies what skewness is measured on


class TissueError(DdgmError):
    """A prior whose tissue was not measured, or a file that does not say what it should."""


@dataclass(frozen=True)
class Tissue:
    """Statistics of the volumes that a prior was trained on, in normalised units.

    Powers are densities: white noise of variance v has power v at every frequency. Entry k is of
    the frequencies nearest to k / `SIDE` cycles a voxel.

    Attributes:
        volume: power of the volume, by length of the three-dimensional frequency.
        slices: power of slices, by length of the two-dimensional frequency.
        skewness: of the values.
        detail_skewness: of slices with nothing left but the frequencies of `DETAIL`.
        voxel_size_nm: side of a voxel; at another one all of this is different.
        measured_on: name of the data.
    """

    volume: tuple[float, ...]
    slices: tuple[float, ...]
    skewness: float
    detail_skewness: float
    voxel_size_nm: float
    measured_on: str

    def volume_power(self, frequency: np.ndarray) -> np.ndarray:
        """Power of the volume at frequencies in cycles a voxel, float64."""
        return _between(self.volume, frequency)

    def slice_power(self, frequency: np.ndarray) -> np.ndarray:
        """Power of slices at frequencies in cycles a voxel, float64."""
        return _between(self.slices, frequency)


def _between(power: tuple[float, ...], frequency: np.ndarray) -> np.ndarray:
    rings = np.log(np.asarray(power, np.float64))
    return np.exp(np.interp(SIDE * np.asarray(frequency, np.float64), np.arange(len(rings)), rings))


def measure_tissue(volumes: Iterable[np.ndarray], voxel_size_nm: float, measured_on: str) -> Tissue:
    """The statistics of volumes (z, y, x) of normalised values.

    Raises:
        TissueError: none of them holds a cube of `SIDE` voxels.
    """
    volume, slices, values, detail = [], [], [], []
    for cube in (cube for v in volumes for cube in cubes(v)):
        volume.append(rings(cube))
        slices += [rings(image) for image in cube[:: SIDE // 4]]
        values.append(cube)
        detail.append(details(cube[:: SIDE // 4]))
    if not volume:
        raise TissueError(f"{measured_on}: no volume holds a cube of {SIDE} voxels")
    return Tissue(
        tuple(np.mean(volume, axis=0).tolist()),
        tuple(np.mean(slices, axis=0).tolist()),
        skewness(np.stack(values)),
        skewness(np.stack(detail)),
        voxel_size_nm,
        measured_on,
    )


def cubes(volume: np.ndarray) -> Iterator[np.ndarray]:
    """Cubes of `SIDE` voxels spread over a volume (z, y, x), float64; they hardly overlap."""
    starts = [
        np.linspace(0, n - SIDE, max(1, round(n / SIDE))).astype(int) if n >= SIDE else []
        for n in volume.shape
    ]
    for corner in product(*starts):
        yield volume[tuple(slice(a, a + SIDE) for a in corner)].astype(np.float64)


def rings(image: np.ndarray) -> np.ndarray:
    """Power density of an image, or a cube, with equal sides; the mean over each ring of frequency.

    Under a Hann window, of the values less their mean: ring 0 and its neighbour say little.
    """
    window, ring, count = _hann_and_rings(image.ndim, image.shape[0])
    power = np.abs(np.fft.fftn(window * (image - image.mean()))) ** 2 / (window**2).sum()
    return np.bincount(ring, power.ravel()) / count


@cache
def _hann_and_rings(axes: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    line = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    window = np.ones(())
    for _ in range(axes):
        window = np.multiply.outer(window, line)
    squares = sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(side, 1 / side)] * axes))
    ring = np.rint(np.sqrt(squares)).astype(int).ravel()
    return window, ring, np.bincount(ring)


def details(images: np.ndarray) -> np.ndarray:
    """Images (..., H, W) with nothing left but the frequencies of `DETAIL`, less their edges."""
    across, down = (np.fft.fftfreq(n) for n in (images.shape[-1], images.shape[-2]))
    squares = down[:, None] ** 2 + across**2
    low, high = (np.exp(-squares / f**2) for f in DETAIL)
    edge = round(0.5 / DETAIL[0])
    kept = np.fft.ifft2(np.fft.fft2(images) * (high - low)).real
    return kept[..., edge:-edge, edge:-edge]


def skewness(values: np.ndarray) -> float:
    """Third moment of values about their mean over their standard deviation cubed."""
    off = values.astype(np.float64) - values.mean(dtype=np.float64)
    return float((off**3).mean() / (off**2).mean() ** 1.5)


def tissue_path(weights: Path) -> Path:
    """The file of a prior's tissue, beside its weights."""
    return weights.with_suffix(".tissue.json")


def save_tissue(weights: Path, tissue: Tissue) -> None:
    """Write a tissue's statistics beside the weights of its prior."""
    text = json.dumps({"format": FORMAT, **asdict(tissue)}, indent=1)
    atomic_write(tissue_path(weights), (text + "\n").encode())


def load_tissue(prior: str) -> Tissue:
    """The statistics of the tissue that a prior was trained on, by its name or path.

    Raises:
        PriorError: there is no such prior.
        TissueError: its tissue was not measured, or the file was altered.
    """
    if (
        packaged_prior(prior) is not None
        or not (path := tissue_path(weights_path(prior))).is_file()
    ):
        raise TissueError(
            f"prior.weights: {prior} has no statistics of its tissue beside its weights "
            "(.tissue.json); train it again, or use a shipped prior"
        )
    try:
        found = json.loads(path.read_text("utf-8"))
        if found.pop("format") != FORMAT or found.keys() != {f.name for f in fields(Tissue)}:
            raise ValueError("another format")
        powers = {name: tuple(map(float, found[name])) for name in ("volume", "slices")}
        if not all(len(p) > SIDE // 2 and min(p) > 0 and max(p) < 1e12 for p in powers.values()):
            raise ValueError("powers that are not above 0")
        numbers = "skewness", "detail_skewness", "voxel_size_nm"
        if not all(isinstance(found[n], float) and abs(found[n]) < 1e12 for n in numbers):
            raise ValueError(f"{', '.join(numbers)} must be numbers")
        return Tissue(**{**found, **powers})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TissueError(f"{path}: is no statistics of tissue ({error}); restore it") from error
