"""A of a lateral detector, one small matrix per lateral frequency.

With the detector's bins on the slab's own lateral grid, A commutes with lateral shifts. After
an FFT along the width it is therefore block diagonal, and AᵀA is one thickness × thickness
matrix G per frequency. K gradient steps become a single product per frequency,

    x ← P x + c,   P = (I - λG)^K,   c = λ Σ_{k<K} (I - λG)^k Aᵀy,

both from G's eigenvectors. The slab is extended to the length of the FFT; what lies outside
of it starts at zero at each call and is free to move within, so near the lateral edges this
is gradient descent on a wider slab, cropped (measured, see docs/results/projectors.md).

With the noise of views in the geometry, A and the data are whitened (`whitening.py`). A weight per
view and frequency is a filter along the bins, so that whitened sinograms fill the FFT's length.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.process_work import work
from ddgm.core.projectors import spectral
from ddgm.core.projectors.astra_matrix import projection_matrix
from ddgm.core.projectors.cache import Arrays, cached
from ddgm.core.projectors.protocol import DataStep, ProximalStep, checked_step
from ddgm.core.projectors.whitening import weights

CHUNK = 16  # depths, or frequencies, that are worked on in double precision at once


class FourierProjector:
    """Batched small products over lateral frequencies; see `Projector`.

    Attributes:
        bins: of sinograms: the geometry's, or the FFT's length where they are whitened.
    """

    def __init__(
        self,
        geometry: TiltGeometry,
        cache: Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        side = bins_beside(geometry)
        whole = side >= geometry.reach and geometry.bins == geometry.width + 2 * side
        if geometry.detector != "lateral" or not whole:
            raise ValueError("FourierProjector needs a lateral detector that misses nothing")
        self.geometry = geometry
        self.length = fast_length(geometry.bins)
        kept = cached("fourier", geometry, lambda: _build(geometry), cache)
        found = weights(geometry, self.length)
        self._weights = None if found is None else found.float().to(device)
        self.bins = geometry.bins if found is None else self.length
        self._a = _whitened(transfer(torch.from_numpy(kept["kernel"]), self.length), found)
        self._a = self._a.to(device)
        self._at = self._a.mH
        self._eigenvalues = torch.from_numpy(kept["eigenvalues"])
        self._eigenvectors = torch.from_numpy(kept["eigenvectors"])
        # (frequencies, thickness, 1)
        self.singular_values = self._eigenvalues.clamp_min(0).sqrt().float()[..., None].to(device)
        self._device = torch.device(device)
        self._collapsed = lru_cache(maxsize=2)(self._collapse)  # a solve and its baseline
        self.norm = float(kept["eigenvalues"].max()) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self._from_frequencies(self._a @ self._slices(x))[..., : self.bins]

    def whiten(self, y: Tensor) -> Tensor:
        """See `Whitening`; as they are where the geometry names no noise."""
        if self._weights is None:
            return y
        return self._from_frequencies(self._weights * self._to_frequencies(y))

    def unwhiten(self, y: Tensor) -> Tensor:
        """See `Whitening`."""
        if self._weights is None:
            return y
        inverse = torch.where(self._weights > 0, 1 / self._weights, 0)
        return self._from_frequencies(inverse * self._to_frequencies(y))[..., : self.geometry.bins]

    def adjoint(self, y: Tensor) -> Tensor:
        return self._crop(self._at @ self._to_frequencies(y))

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        power, series = self._collapsed(checked_step(step, self.norm), count)
        target = _product(series, self._at @ self._to_frequencies(y))

        def descend(x: Tensor) -> Tensor:
            return self._crop(_product(power, self._slices(x)) + target)

        return descend

    def proximal(self, y: Tensor) -> ProximalStep:
        """See `Projector`; exact, on the extended slab."""
        return spectral.proximal(self, y)

    @cached_property
    def _v(self) -> Tensor:
        return self._eigenvectors.to(self._device)

    @cached_property
    def _vh(self) -> Tensor:
        return self._v.mH.contiguous()

    def coefficients(self, x: Tensor) -> Tensor:
        """See `Spectral`; (frequencies, thickness, B) complex."""
        return _product(self._vh, self._slices(x))

    def slices(self, coefficients: Tensor) -> Tensor:
        """See `Spectral`."""
        return self._crop(_product(self._v, coefficients))

    def data_coefficients(self, y: Tensor) -> Tensor:
        """See `Spectral`."""
        return _product(self._vh, self._at @ self._to_frequencies(y))

    def _collapse(self, step: float, count: int) -> tuple[Tensor, Tensor]:
        """P and step · Σ_{k<count} (I - step · G)^k, (frequencies, thickness, thickness)."""
        v = self._eigenvectors
        factors = spectral.collapse(self._eigenvalues, step, count)
        p, s = ((v * f[:, None, :].to(v.dtype)) @ v.mH for f in factors)
        return p.to(self._device), s.to(self._device)

    def _slices(self, x: Tensor) -> Tensor:
        side = bins_beside(self.geometry)
        return self._to_frequencies(torch.nn.functional.pad(x, (side, 0)))

    def _crop(self, frequencies: Tensor) -> Tensor:
        side = bins_beside(self.geometry)
        return self._from_frequencies(frequencies)[..., side : side + self.geometry.width]

    def _to_frequencies(self, x: Tensor) -> Tensor:
        """(B, rows, columns) → (frequencies, rows, B)."""
        return torch.fft.rfft(x, n=self.length).permute(2, 1, 0).contiguous()

    def _from_frequencies(self, f: Tensor) -> Tensor:
        """(frequencies, rows, B) → (B, rows, length)."""
        return torch.fft.irfft(f.permute(2, 1, 0), n=self.length)


def bins_beside(geometry: TiltGeometry) -> int:
    """Bins to either side of a slice: its `reach`, or more where steeper views are left out."""
    return (geometry.bins - geometry.width) // 2


def fast_length(n: int) -> int:
    """The smallest even length from n on with no prime factor above 7, quick to transform."""
    while True:
        rest = n
        for p in (2, 3, 5, 7):
            while rest % p == 0:
                rest //= p
        if rest == 1 and n % 2 == 0:
            return n
        n += 1


def transfer(kernel: Tensor, length: int) -> Tensor:
    """(views, taps, thickness) kernel → (frequencies, views, thickness), complex64."""
    views, taps, thickness = kernel.shape
    out = torch.empty(length // 2 + 1, views, thickness, dtype=torch.complex64)
    for depths in torch.arange(thickness).split(CHUNK):  # all at once would take four times A
        padded = torch.zeros(views, len(depths), length, dtype=torch.float64)
        padded[..., :taps] = kernel[:, :, depths].transpose(1, 2)
        padded = padded.roll(-(taps // 2), dims=-1)  # tap 0 is the pixel's own column
        out[:, :, depths] = torch.fft.rfft(padded).permute(2, 0, 1).to(torch.complex64)
    return out


def _whitened(a: Tensor, weights: Tensor | None) -> Tensor:
    return a if weights is None else a.mul_(weights.float())


def _product(m: Tensor, x: Tensor) -> Tensor:
    """Batched m @ x; a real m takes the real and imaginary columns of x in one real product."""
    if m.is_complex():
        return m @ x
    return torch.view_as_complex((m @ torch.view_as_real(x).flatten(2)).unflatten(2, (-1, 2)))


def _build(geometry: TiltGeometry) -> Arrays:
    """The impulse response of each depth, and the eigendecomposition of G per frequency.

    Where tilts come in pairs ±θ, G is real but for ASTRA's rounding (measured: 2e-9 of its
    largest entry), which halves memory and quarters the work.
    """
    column = replace(geometry, width=1, bins=1 + 2 * bins_beside(geometry))
    shape = (geometry.views, column.bins, geometry.thickness)
    kernel = projection_matrix(column).toarray().reshape(shape)
    length = fast_length(geometry.bins)
    a = _whitened(transfer(torch.from_numpy(kernel), length), weights(geometry, length))
    real = geometry.is_paired
    found, parts = [], a.split(CHUNK)
    with work(spectral.building(geometry), len(parts)) as step:
        for part in parts:
            g = part.to(torch.complex128).mH @ part.to(torch.complex128)
            values, vectors = torch.linalg.eigh(g.real if real else g)
            found.append((values, vectors.to(torch.float32 if real else torch.complex64)))
            step(len(found))
    return {
        "kernel": kernel,
        "eigenvalues": torch.cat([values for values, _ in found]).numpy(),
        "eigenvectors": torch.cat([vectors for _, vectors in found]).numpy(),
    }
