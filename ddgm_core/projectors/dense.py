"""A with the eigenvectors of AᵀA as dense matrices: small slices, any geometry.

Where tilts come in pairs ±θ, AᵀA commutes with flips of a slice along its thickness and along its
width (measured: to 2e-4 of its values, ASTRA's rounding). Slices that are even or odd along each
axis then do not mix, and one matrix of pixels × pixels falls into four of a quarter of the pixels:
at 128 × 128 an eighth of the memory and a sixteenth of the work to decompose, a quarter to apply.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddgm.core.errors import DdgmError
from ddgm.core.geometry import TiltGeometry
from ddgm.core.process_memory import available_bytes
from ddgm.core.process_work import work
from ddgm.core.projectors import spectral
from ddgm.core.projectors.astra_matrix import projection_matrix
from ddgm.core.projectors.cache import Arrays, cached
from ddgm.core.projectors.matrix import MatrixProjector
from ddgm.core.projectors.protocol import DataStep, ProximalStep, checked_step

COPIES = 5  # float64 matrices that an eigendecomposition holds at once, at most
Basis = tuple[np.ndarray, np.ndarray]  # (p, thickness) and (q, width), with orthonormal rows


class DecompositionError(DdgmError):
    """An eigendecomposition that this machine has no room for."""


def parity_bases(geometry: TiltGeometry) -> list[Basis]:
    """Bases of the slices that AᵀA does not mix: by parity, or one for all of them."""
    tilts = np.asarray(geometry.angles)
    rows, columns = np.eye(geometry.thickness), np.eye(geometry.width)
    if not np.allclose(np.sort(tilts), np.sort(-tilts)):
        return [(rows, columns)]
    return [(p, q) for p in _parities(rows) for q in _parities(columns)]


def decomposition_bytes(geometry: TiltGeometry) -> int:
    """Memory that the eigendecomposition of AᵀA takes, once per geometry; 1.2 GB at 128 × 128."""
    pixels = max(len(p) * len(q) for p, q in parity_bases(geometry))
    return 8 * pixels * (COPIES * pixels + geometry.views * geometry.bins)


class DenseProjector(MatrixProjector):
    """`MatrixProjector` with the SVD: exact proximal steps, K gradient steps as one product.

    The eigenvectors take 0.27 GB at 128 × 128 (1.1 GB where tilts are not in pairs). They are
    computed once, in float64, and kept on disk. See `Spectral`.

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
        kept = cached("folded", geometry, lambda: _decompose(geometry), cache)
        parts = parity_bases(geometry)
        self._bases = [[torch.from_numpy(m).float().to(device) for m in part] for part in parts]
        self._v = [torch.from_numpy(kept[f"v{i}"]).to(device) for i in range(len(parts))]
        self._squares = torch.from_numpy(kept["squares"])
        self.singular_values = self._squares.sqrt().float().to(device)

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        factors = spectral.collapse(self._squares, checked_step(step, self.norm), count)
        power, series = (f.to(y) for f in factors)
        target = series * self.data_coefficients(y)

        def descend(x: Tensor) -> Tensor:
            return self.slices(power * self.coefficients(x) + target)

        return descend

    def proximal(self, y: Tensor) -> ProximalStep:
        """See `Projector`; exact."""
        return spectral.proximal(self, y)

    def coefficients(self, x: Tensor) -> Tensor:
        """See `Spectral`; (B, pixels), basis by basis."""
        parts = zip(self._bases, self._v, strict=True)
        return torch.cat([(p @ x @ q.T).flatten(1) @ v for (p, q), v in parts], dim=1)

    def slices(self, coefficients: Tensor) -> Tensor:
        """See `Spectral`."""
        shape = len(coefficients), self.geometry.thickness, self.geometry.width
        x = coefficients.new_zeros(shape)
        parts = coefficients.split([len(v) for v in self._v], dim=1)
        for c, (p, q), v in zip(parts, self._bases, self._v, strict=True):
            x += p.T @ (c @ v.T).unflatten(1, (len(p), len(q))) @ q
        return x

    def data_coefficients(self, y: Tensor) -> Tensor:
        """See `Spectral`."""
        return self.coefficients(self.adjoint(y))


def _parities(lines: np.ndarray) -> list[np.ndarray]:
    """The even and the odd combinations of rows that mirror each other; a middle row is even."""
    flipped = lines[::-1]
    half, middle = divmod(len(lines), 2)
    even, odd = ((lines + sign * flipped)[:half] / np.sqrt(2) for sign in (1, -1))
    return [np.concatenate([even, lines[half : half + middle]]), odd]


def _decompose(geometry: TiltGeometry) -> Arrays:
    from scipy import sparse

    needed, free = decomposition_bytes(geometry), available_bytes()
    if needed > free:
        raise DecompositionError(
            f"the eigenvectors of a slice of {geometry.thickness} x {geometry.width} take "
            f"{needed / 1e9:.3g} GB of memory to compute, and {free / 1e9:.3g} GB are free; use "
            "smaller slices, a lateral detector (one small matrix per frequency), or a method that "
            "needs no SVD"
        )
    a = projection_matrix(geometry).astype(np.float64)
    kept, squares = {}, []
    bases = parity_bases(geometry)
    with work(spectral.building(geometry), len(bases)) as step:
        for i, (p, q) in enumerate(bases):
            folded = torch.from_numpy((a @ sparse.kron(p, q, "csr").T).toarray())
            found, v = torch.linalg.eigh(folded.T @ folded)
            squares.append(found.clamp_min(0).numpy())
            kept[f"v{i}"] = v.float().numpy()
            step(i + 1)
    return {"squares": np.concatenate(squares), **kept}
