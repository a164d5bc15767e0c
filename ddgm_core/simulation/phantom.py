"""A procedural phantom: a volume that looks like fly-brain neuropil under FIB-SEM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ddgm.core.errors import DdgmError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SMALLEST = 8  # voxels along an axis: below this a volume holds no cell

# Radius of a neurite in voxels → share of the volume laid out at that calibre. The shares sum to
# more than one, since where neurites collide the larger one wins.
CALIBRES = {3.5: 0.3, 5.0: 0.4, 7.0: 0.4, 10.0: 0.4, 15.0: 0.5, 22.0: 0.25, 32.0: 0.03}
STEPS = 28  # balls along a neurite
STRIDE = 0.6  # distance between them, in radii
PERSISTENCE = 6  # steps over which a neurite keeps its direction
REACH = 1.2  # voxels beyond its radius that a neurite swells to; the rest is glia

BLOCK = 4  # voxels: side of the cubes that share one list of nearby balls
NEARBY = 20  # balls in that list: enough to include a neighbour wherever a membrane runs
CHUNK = 2048  # blocks handled at once, which bounds memory
FAR = 1e9  # power distance beyond any that occurs

# Grey values before blur.
CYTOPLASM, DARK_CYTOPLASM, GLIA, MEMBRANE, MITOCHONDRION, DENSITY = 182, 130, 110, 78, 74, 45


class PhantomError(DdgmError, ValueError):
    """A phantom that cannot be made."""


@dataclass(frozen=True)
class Balls:
    """Balls strung along curves: centre (curves, steps, 3) and radius (curves, steps), voxels."""

    centre: Floats
    radius: Floats


def neuropil(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """A synthetic electron-microscopy volume of neuropil.

    Wandering neurites of varied calibre, dark membranes between them, mitochondria, vesicles,
    synaptic densities, the blur of the microscope and its noise. No axis is preferred.

    Args:
        shape: voxels along z, y and x, each at least 8. A voxel is a cube of 16 nm.
        seed: the same shape and seed give the same bytes.

    Returns:
        Grey values (z, y, x), uint8, dark where the stain is.

    Raises:
        PhantomError: `shape` has not three axes, or one is too short.

    Examples:
        >>> ddgm.neuropil((32, 64, 8)).shape
        (32, 64, 8)
    """
    if len(shape) != 3 or min(shape) < SMALLEST:
        raise PhantomError(f"shape {shape}: give (z, y, x), each at least {SMALLEST} voxels")
    rng = np.random.default_rng(seed)
    z, y, x = (-(-size // BLOCK) * BLOCK for size in shape)
    neurites = _neurites(rng, (z, y, x))
    where = _to_blocks(_warped_positions(rng, (z, y, x)))
    cell, depth = _tessellate(neurites, where)
    inside = _inside_mitochondria(_mitochondria(rng, neurites), where, cell, depth)
    volumes = (_from_blocks(values, (z, y, x)) for values in (cell, depth, inside))
    image = _image(rng, len(neurites.centre), *volumes)
    return np.ascontiguousarray(image[: shape[0], : shape[1], : shape[2]])


def _float32(values: NDArray) -> Floats:
    return values.astype(np.float32)


def _smoothing(size: int, scale: float) -> Floats:
    """Weights (size, nodes) that turn white noise at nodes `scale` apart into smooth noise."""
    nodes = int(np.ceil(size / scale)) + 6
    offsets = np.arange(size)[:, None] / scale - (np.arange(nodes) - 3)
    weights = np.exp(-(offsets**2) / 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)  # variance 1 everywhere
    return _float32(weights)


def _field(rng: Generator, shape: tuple[int, ...], scale: float) -> Floats:
    """Gaussian noise of mean 0 and variance 1, smooth over `scale` voxels along each axis."""
    weights = [_smoothing(size, scale) for size in shape]
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for w in weights:
        field = np.tensordot(field, w, axes=(0, 1))  # its new axis comes last: a full turn in all
    return field


def _strands(rng: Generator, curves: int, width: int, scale: float) -> Floats:
    """Noise (curves, STEPS, width), smooth over `scale` steps and independent across the rest."""
    weights = _smoothing(STEPS, scale)
    return weights @ rng.standard_normal((curves, weights.shape[1], width), dtype=np.float32)


def _neurites(rng: Generator, shape: tuple[int, int, int]) -> Balls:
    """Wandering curves of every calibre; their overlaps are left for `_tessellate` to settle."""
    classes = [_curves(rng, shape, radius, share) for radius, share in CALIBRES.items()]
    centre = np.concatenate([balls.centre for balls in classes])
    return Balls(centre, np.concatenate([balls.radius for balls in classes]))


def _curves(rng: Generator, shape: tuple[int, int, int], calibre: float, share: float) -> Balls:
    """Curves of one calibre, their middles spread so that they cross the volume evenly."""
    length = STEPS * STRIDE * calibre
    box = np.array(shape) + length
    count = rng.poisson(share * box.prod() / (np.pi * calibre**2 * length))
    thickness = 0.15 * rng.standard_normal((count, 1)) + 0.2 * _strands(rng, count, 1, 4)[..., 0]
    radius = calibre * np.exp(thickness)
    heading = rng.standard_normal((count, 1, 3)) + _strands(rng, count, 3, PERSISTENCE)
    heading /= np.linalg.norm(heading, axis=-1, keepdims=True)
    path = np.cumsum(STRIDE * calibre * heading, axis=1)
    middle = rng.random((count, 1, 3)) * box - length / 2
    centre = path - path[:, STEPS // 2, None] + middle
    return Balls(_float32(centre), _float32(radius))


def _mitochondria(rng: Generator, neurites: Balls) -> Balls:
    """Stretches of the larger neurites, off their axis and tapered at the ends."""
    count = len(neurites.centre)
    fill = np.clip(_strands(rng, count, 1, 3)[..., 0] - 0.1, 0, 1) ** 0.5
    radius = fill * np.clip(0.7 * neurites.radius, 0, 15) * (neurites.radius > 8)
    shift = rng.standard_normal((count, 1, 3), dtype=np.float32)
    shift *= 0.2 * neurites.radius[:, :1, None]
    # Thinner than their neurite, they need denser balls for a smooth wall.
    dense = np.linspace(0, STEPS - 1, 3 * STEPS - 2)
    between = np.maximum(0, 1 - np.abs(dense[:, None] - np.arange(STEPS)))
    return Balls(_float32(between @ (neurites.centre + shift)), _float32(radius @ between.T))


def _warped_positions(rng: Generator, shape: tuple[int, int, int]) -> Floats:
    """Each voxel's position (z, y, x, 3), displaced smoothly, so that no wall is flat."""
    where = np.empty((*shape, 3), np.float32)
    for axis, position in enumerate(np.ogrid[tuple(slice(size) for size in shape)]):
        where[..., axis] = position + 2.5 * _field(rng, shape, 9) + 0.8 * _field(rng, shape, 4)
    return where


def _to_blocks(volume: Floats) -> Floats:
    """(z, y, x, 3) → (blocks, BLOCK³, 3)."""
    z, y, x = (size // BLOCK for size in volume.shape[:3])
    split = volume.reshape(z, BLOCK, y, BLOCK, x, BLOCK, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    return split.reshape(-1, BLOCK**3, 3)


def _from_blocks(values: NDArray, shape: tuple[int, int, int]) -> NDArray:
    """(blocks, BLOCK³) → (z, y, x)."""
    z, y, x = (size // BLOCK for size in shape)
    return values.reshape(z, y, x, BLOCK, BLOCK, BLOCK).transpose(0, 3, 1, 4, 2, 5).reshape(shape)


class _Index:
    """The balls that reach a volume, found by power distance |x − centre|² − radius²."""

    def __init__(self, balls: Balls, where: Floats) -> None:
        from scipy.spatial import KDTree

        margin = balls.radius[..., None] + 8
        low, high = where.min((0, 1)) - margin, where.max((0, 1)) + margin
        kept = ((balls.centre > low) & (balls.centre < high)).all(-1) & (balls.radius > 1)
        # Nobody's balls, far away, so that every search finds NEARBY of them.
        self.cell = np.append(np.nonzero(kept)[0], np.full(NEARBY, -1))
        self.centre = np.append(balls.centre[kept], np.full((NEARBY, 3), -1e4, np.float32), axis=0)
        self.radius = np.append(balls.radius[kept], np.ones(NEARBY, np.float32))
        # One more dimension turns power distance into distance, which a KD-tree can search.
        height = np.sqrt(self.radius.max() ** 2 - self.radius**2)
        self.tree = KDTree(np.column_stack([self.centre, height]))

    def near(self, where: Floats) -> Iterator[tuple[slice, Ints, Floats]]:
        """Some blocks at a time, the balls near each (blocks, k), and power distances to them
        from its voxels (blocks, BLOCK³, k)."""
        for part in (slice(start, start + CHUNK) for start in range(0, len(where), CHUNK)):
            middle = where[part].mean(axis=1, keepdims=True)
            ball = np.asarray(self.tree.query(np.pad(middle[:, 0], ((0, 0), (0, 1))), NEARBY)[1])
            offset, centre = where[part] - middle, self.centre[ball] - middle
            power = -2 * offset @ centre.transpose(0, 2, 1)
            power += (offset**2).sum(-1)[:, :, None]
            power += ((centre**2).sum(-1) - self.radius[ball] ** 2)[:, None, :]
            yield part, ball, power

    def beyond(self, ball: Ints, power: Floats) -> Floats:
        """Distance in voxels outside the surface of the given balls; negative inside."""
        return np.sqrt(np.maximum(power + self.radius[ball] ** 2, 0)) - self.radius[ball]


def _tessellate(neurites: Balls, where: Floats) -> tuple[Ints, Floats]:
    """Each voxel's cell (−1: glia) and its distance in voxels to the nearest wall."""
    index = _Index(neurites, where)
    cell = np.empty(where.shape[:2], np.int64)
    depth = np.empty(where.shape[:2], np.float32)
    for part, ball, power in index.near(where):
        own, own_power = _least(ball, power)
        power[index.cell[ball][:, None] == index.cell[own][..., None]] = FAR
        other, other_power = _least(ball, power)
        # Between two balls the wall is a plane, to which this is the exact distance.
        apart = np.linalg.norm(index.centre[own] - index.centre[other], axis=-1)
        wall = (other_power - own_power) / (2 * np.maximum(apart, 1))
        outside = index.beyond(own, own_power) - REACH
        cell[part] = np.where(outside > 0, -1, index.cell[own])
        depth[part] = np.minimum(wall, np.abs(outside))
    return cell, depth


def _least(ball: Ints, power: Floats) -> tuple[Ints, Floats]:
    """The ball of least power distance to each voxel, and that distance."""
    least = power.argmin(-1)
    nearest = np.take_along_axis(power, least[..., None], -1)[..., 0]
    return np.take_along_axis(ball, least, 1), nearest


def _inside_mitochondria(mitochondria: Balls, where: Floats, cell: Ints, depth: Floats) -> Floats:
    """Distance in voxels inside the wall of a mitochondrion; negative outside of it."""
    index = _Index(mitochondria, where)
    inside = np.empty(where.shape[:2], np.float32)
    for part, ball, power in index.near(where):
        own, own_power = _least(ball, power)
        inside[part] = -index.beyond(own, own_power)
        inside[part][index.cell[own] != cell[part]] = -9
    # Some cytoplasm is left all around; a soft minimum rounds the corners that this cuts.
    return -2 * np.logaddexp(-inside / 2, -np.minimum(depth - 3, 99) / 2)


def _image(rng: Generator, cells: int, cell: Ints, depth: Floats, inside: Floats) -> NDArray:
    """Paint the volumes (z, y, x) as the microscope sees them."""
    from scipy.ndimage import gaussian_filter

    shape = depth.shape
    grey = _cytoplasm(rng, cells, cell)
    cristae = np.abs(_field(rng, shape, 1.8)) < 0.35
    grey = _blend(grey, MITOCHONDRION + 30 * cristae, _soft_step(inside))
    grey = _blend(grey, MEMBRANE, _soft_step(0.7 - np.abs(inside)))
    grey = _blend(grey, MEMBRANE, _soft_step(1.15 - depth))
    density = gaussian_filter(1.0 * ((rng.random(shape) < 4e-5) & (depth < 1.5)), 2.0)
    grey = _blend(grey, DENSITY, np.clip(density * 150, 0, 1))
    grey = gaussian_filter(grey, 0.85)
    grey += 2.4 * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _blend(grey: NDArray, ink: NDArray | float, cover: NDArray) -> NDArray:
    """Ink over grey, where `cover` is 1."""
    return grey + (ink - grey) * cover


def _soft_step(distance: NDArray) -> NDArray:
    """1 inside (distance > 0), 0 outside, soft over half a voxel: hard steps would alias."""
    return (1 + np.tanh(2 * distance)) / 2


def _cytoplasm(rng: Generator, cells: int, cell: Ints) -> Floats:
    """Each cell in its own grey, speckled with vesicles; the last one is glia."""
    tone = rng.normal(CYTOPLASM, 6, cells + 1)
    dark = rng.random(cells + 1) < 0.1
    tone[dark] = rng.normal(DARK_CYTOPLASM, 8, dark.sum())
    tone[-1] = GLIA
    crowd = rng.uniform(0.1, 0.3, cells + 1)
    speckle = np.clip(_field(rng, cell.shape, 1.25), 0, 2) - 0.15 * _field(rng, cell.shape, 3)
    return _float32(tone[cell] * (1 - crowd[cell] * speckle))
