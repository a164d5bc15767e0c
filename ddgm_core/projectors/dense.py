"""A with the eigenvectors of AᵀA as one dense matrix: small slices, any geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddgm_core.errors import DdgmError
from ddgm_core.geometry import TiltGeometry
from ddgm_core.memory import available_bytes
from ddgm_core.projectors.astra_matrix import projection_matrix
from ddgm_core.projectors.cache import Arrays, cached
from ddgm_core.projectors.matrix import MatrixProjector
from ddgm_core.projectors.protocol import ProximalStep

COPIES = 5  # float64 matrices that the eigendecomposition holds at once, at most


class DecompositionError(DdgmError):
    """An eigendecomposition that this machine has no room for."""


def decomposition_bytes(geometry: TiltGeometry) -> int:
    """Memory that the eigendecomposition of AᵀA takes, once per geometry; 10.7 GB at 128 × 128."""
    return COPIES * 8 * (geometry.thickness * geometry.width) ** 2


class DenseProjector(MatrixProjector):
    """`MatrixProjector` with exact proximal steps and the SVD; see `Spectral`.

    The eigenvectors are one (n, n) float32 matrix, n the pixels of a slice: 1 GiB at
    128 × 128. They are computed once, in float64, and kept on disk.

    Raises:
        DecompositionError: the decomposition does not fit into memory.
    """

    def __init__(
        self,
        geometry: TiltGeometry,
        cache: Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(geometry, cache, device)
        kept = cached(f"dense-{geometry.digest[:24]}", lambda: _decompose(geometry), cache)
        self._v = torch.from_numpy(kept["eigenvectors"]).to(device)
        self.singular_values = torch.from_numpy(kept["singular_values"]).to(device)

    def proximal(self, y: Tensor) -> ProximalStep:
        measured, squares = self.measured(y), self.singular_values**2

        def step(x: Tensor, mu: float) -> Tensor:
            return self.slices((measured + mu * self.coefficients(x)) / (squares + mu))

        return step

    def coefficients(self, x: Tensor) -> Tensor:
        """See `Spectral`; (B, n)."""
        return x.reshape(len(x), -1) @ self._v

    def slices(self, coefficients: Tensor) -> Tensor:
        """See `Spectral`."""
        shape = len(coefficients), self.geometry.thickness, self.geometry.width
        return (coefficients @ self._v.T).reshape(shape)

    def measured(self, y: Tensor) -> Tensor:
        """See `Spectral`."""
        return self.coefficients(self.adjoint(y))


def _decompose(geometry: TiltGeometry) -> Arrays:
    needed, free = decomposition_bytes(geometry), available_bytes()
    if needed > free:
        raise DecompositionError(
            f"the eigenvectors of a slice of {geometry.thickness} x {geometry.width} take "
            f"{needed / 1e9:.3g} GB of memory to compute, and {free / 1e9:.3g} GB are free; use "
            "smaller slices, a lateral detector (one small matrix per frequency), or a method that "
            "needs no SVD"
        )
    a = projection_matrix(geometry).astype(np.float64)
    squares, v = torch.linalg.eigh(torch.from_numpy((a.T @ a).toarray()))
    return {
        "singular_values": squares.clamp_min(0).sqrt().float().numpy(),
        "eigenvectors": v.float().numpy(),
    }
