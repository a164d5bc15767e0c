"""Fourier ring correlation: held against teamtomo's, and resolutions of images that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch_fourier_shell_correlation import fourier_ring_correlation

from ddgm.core.metrics.fourier import resolution, resolutions, ring_correlation


def noisy(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    a = torch.randn(shape, generator=numbers)
    return a, a + torch.randn(shape, generator=numbers)


@pytest.mark.parametrize("shape", [(64, 64), (48, 200), (75, 50)])
def test_it_is_teamtomos(shape: tuple[int, int]) -> None:
    a, b = noisy((2, *shape))
    expected = fourier_ring_correlation(a, b)
    assert (ring_correlation(a, b) - expected).abs().max() < 1e-4


def test_an_axis_has_the_frequencies_near_it() -> None:
    a, b = torch.zeros(2, 64, 64)
    at = torch.arange(64) * 2 * math.pi / 64
    a += torch.cos(8 * at)[None] + torch.cos(20 * at)[:, None]  # both axes
    b += torch.cos(8 * at)[None] - torch.cos(20 * at)[:, None]  # the thickness is inverted
    width, thickness = (ring_correlation(a, b, axis) for axis in ("width", "thickness"))
    assert width[8] == pytest.approx(1)
    assert thickness[20] == pytest.approx(-1)


def test_a_flat_pixels_frequencies_are_those_of_its_sides() -> None:
    a = torch.cos(torch.arange(64) * 2 * math.pi * 20 / 64)[:, None].expand(64, 64)
    found = ring_correlation(a, a, "thickness", aspect=2.0)
    assert found[10] == pytest.approx(1)  # 20 / 64 cycles a pixel, which is twice as high
    assert abs(float(found[20])) < 1e-3 or not found[20]


def test_resolution_is_where_the_correlation_falls_below() -> None:
    curve = torch.tensor([1.0, 0.9, 0.7, 0.3, 0.8, 0.1])
    assert float(resolution(curve, 0.5, 10, 16.0)) == pytest.approx(16 * 10 / 2.5)
    assert float(resolution(curve, 0.05, 10, 16.0)) == pytest.approx(16 * 10 / 5)  # Nyquist's


def test_a_cut_through_the_spectrum_is_the_resolution() -> None:
    x = noisy((4, 96, 128))[0]
    down, across = torch.fft.fftfreq(96)[:, None], torch.fft.rfftfreq(128)
    kept = (down.abs() < 0.125) & (across < 0.25)
    other = torch.fft.rfft2(noisy((4, 96, 128), seed=1)[0])
    spectrum = torch.where(kept, torch.fft.rfft2(x), other)
    found = resolutions(torch.fft.irfft2(spectrum, s=(96, 128)), x, pixel_nm=16.0)
    # frequencies near an axis, but not on it, are cut by the other axis too
    assert 60 < float(found["resolution_width"]) < 90
    assert 110 < float(found["resolution_thickness"]) < 135
