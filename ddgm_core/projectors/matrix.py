"""A as ASTRA's sparse matrix: any geometry, exact adjoint."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.process_work import work
from ddgm.core.projectors.astra_matrix import projection_matrix
from ddgm.core.projectors.cache import Arrays, cached
from ddgm.core.projectors.conjugate_gradients import conjugate_gradients
from ddgm.core.projectors.protocol import DataStep, ProximalStep, checked_step

POWER_STEPS = 20  # of the norm's power iteration, where the first already finds it
CG_STEPS = 30  # of a proximal step; 12 cost a tenth of the quality (see docs/decisions.md)


class MatrixProjector:
    """CSR products over a batch of slices at once; see `Projector`."""

    def __init__(
        self,
        geometry: TiltGeometry,
        cache: Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.geometry = geometry
        kept = cached("matrix", geometry, lambda: _build(geometry), cache)
        shape = (geometry.views * geometry.bins, geometry.thickness * geometry.width)
        indptr, indices, data = (torch.from_numpy(kept[k]) for k in ("indptr", "indices", "data"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse ")  # torch calls its CSR a beta
            self._a = torch.sparse_csr_tensor(indptr, indices, data, shape).to(device)
            transpose = torch.sparse_csc_tensor(indptr, indices, data, shape[::-1])  # as they are
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

    def proximal(self, y: Tensor) -> ProximalStep:
        """See `Projector`; `CG_STEPS` conjugate gradient steps from x."""
        measured = self.adjoint(y)

        def step(x: Tensor, mu: float) -> Tensor:
            def normal(z: Tensor) -> Tensor:
                return self.adjoint(self.forward(z)) + mu * z

            return conjugate_gradients(normal, measured + mu * x, x, CG_STEPS)

        return step


def _build(geometry: TiltGeometry) -> Arrays:
    with work(f"building the matrix for slices of {geometry.thickness} x {geometry.width}, once"):
        a = projection_matrix(geometry)
        return {
            "indptr": np.asarray(a.indptr, np.int32),
            "indices": np.asarray(a.indices, np.int32),
            "data": np.asarray(a.data),
            "norm": np.asarray(_norm(a)),
        }


def _norm(a: Any) -> float:
    """‖A‖₂ of a sparse matrix without negative entries."""
    from scipy.sparse.linalg import ArpackError, svds

    # its first singular vector has no negative entry: ones is a good start
    start = np.ones(min(a.shape))
    options: Any = {"v0": start, "tol": 1e-5, "return_singular_vectors": False}
    try:
        values: Any = svds(a, k=1, **options)
        return float(values[0])
    except ArpackError:  # it can give up on one view, whose singular vector is the start itself
        v = start if a.shape[1] == len(start) else a.T @ start
        for _ in range(POWER_STEPS):
            v = a.T @ (a @ (v / np.linalg.norm(v)))
        return float(np.linalg.norm(v)) ** 0.5
