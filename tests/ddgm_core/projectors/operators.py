"""Geometries, slices and sinograms for the projectors, and their dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors import FourierProjector, MatrixProjector
from ddgm.core.projectors.astra_matrix import projection_matrix

PERPENDICULAR = TiltGeometry.uniform(12, 20, 10)
LATERAL = TiltGeometry.uniform(12, 20, 10, detector="lateral")
ASYMMETRIC = TiltGeometry.uniform(12, 20, 10, (-30.0, 60.0), "lateral")
ODD = TiltGeometry.uniform(13, 21, 9, detector="lateral")
GEOMETRIES = [PERPENDICULAR, LATERAL, ASYMMETRIC, ODD]
CASES = [(MatrixProjector, g) for g in GEOMETRIES] + [
    (FourierProjector, g) for g in GEOMETRIES if g.detector == "lateral"
]
each_case = pytest.mark.parametrize(("backend", "geometry"), CASES)
each_lateral = pytest.mark.parametrize("geometry", [LATERAL, ASYMMETRIC, ODD])
Backend = type[MatrixProjector] | type[FourierProjector]


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slices(g: TiltGeometry, count: int = 3) -> Tensor:
    return white(count, g.thickness, g.width)


def sinograms(g: TiltGeometry, count: int = 3) -> Tensor:
    return white(count, g.views, g.bins, seed=1)


def smooth(g: TiltGeometry) -> Tensor:
    """Blobs, two of them cut by the slice's edges."""
    z, x = np.indices((g.thickness, g.width), dtype=np.float32)
    origins = [(0.5, 0.5), (0.1, 0.05), (0.8, 0.97)]
    squares = [(z - a * g.thickness) ** 2 + (x - b * g.width) ** 2 for a, b in origins]
    return torch.from_numpy(np.stack([np.exp(-r / 18) for r in squares]))


def apart(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference over that of `b`."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def dense(g: TiltGeometry) -> Tensor:
    return torch.from_numpy(projection_matrix(g).toarray()).double()


def periodic(g: TiltGeometry, length: int) -> Tensor:
    """Dense A of a slab that is `length` wide and closed to a ring, (views · length, pixels).

    ASTRA's matrix of the open slab of that width, what its detector catches beyond the slab's
    two ends put where it comes round again.
    """
    open_slab = TiltGeometry.uniform(g.thickness, length, g.views, detector="lateral")
    open_slab = TiltGeometry(g.thickness, length, g.angles, "lateral", open_slab.bins)
    side = (open_slab.bins - length) // 2
    a = dense(open_slab).reshape(g.views, open_slab.bins, -1)
    ring = torch.zeros(g.views, length, a.shape[-1], dtype=torch.float64)
    ring.index_add_(1, (torch.arange(open_slab.bins) - side) % length, a)
    return ring.flatten(0, 1)
