"""A as ASTRA's sparse matrix: any geometry, exact adjoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddgm_core.geometry import TiltGeometry
from ddgm_core.projectors.astra_matrix import projection_matrix
from ddgm_core.projectors.cache import Arrays, cached
from ddgm_core.projectors.protocol import DataStep, checked_step


class MatrixProjector:
    """CSR products over a batch of slices at once; see `Projector`."""

    def __init__(
        self,
        geometry: TiltGeometry,
        cache: Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.geometry = geometry
        kept = cached(f"matrix-{geometry.digest[:24]}", lambda: _build(geometry), cache)
        shape = (geometry.views * geometry.bins, geometry.thickness * geometry.width)
        indptr, indices, data = (torch.from_numpy(kept[k]) for k in ("indptr", "indices", "data"))
        self._a = torch.sparse_csr_tensor(indptr, indices, data, shape).to(device)
        transpose = torch.sparse_csc_tensor(indptr, indices, data, shape[::-1])  # the same numbers
        self._at = transpose.to_sparse_csr().to(device)
        self.norm = float(kept["norm"])

    def forward(self, x: Tensor) -> Tensor:
        y = self._a @ x.reshape(len(x), -1).T
        return y.T.reshape(len(x), self.geometry.views, self.geometry.bins)

    def adjoint(self, y: Tensor) -> Tensor:
        x = self._at @ y.reshape(len(y), -1).T
        return x.T.reshape(len(y), self.geometry.thickness, self.geometry.width)

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        checked_step(step, self.norm)
        target = step * (self._at @ y.reshape(len(y), -1).T)

        def descend(x: Tensor) -> Tensor:
            flat = x.reshape(len(x), -1).T
            for _ in range(count):
                flat = flat - step * (self._at @ (self._a @ flat)) + target
            return flat.T.reshape(x.shape)

        return descend


def _build(geometry: TiltGeometry) -> Arrays:
    from scipy.sparse.linalg import svds

    a = projection_matrix(geometry)
    # A has no negative entry, so its first singular vector has none: ones is a good start
    norm = svds(a, k=1, v0=np.ones(min(a.shape)), return_singular_vectors=False, tol=1e-5)[0]
    return {
        "indptr": a.indptr.astype(np.int32),
        "indices": a.indices.astype(np.int32),
        "data": a.data,
        "norm": np.float64(norm),
    }
