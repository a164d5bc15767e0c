"""Gain, offset and noise that were put into views of a phantom and of real tissue are found."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ddgm.core.errors import DdgmError
from ddgm.core.geometry import TiltGeometry
from ddgm.core.metrics.levels import Levels, fit_levels
from ddgm.core.metrics.tissue import Tissue, load_tissue, measure_tissue
from ddgm.core.projectors.ray_sums import ray_sums
from ddgm.core.simulation.phantom import neuropil

FIB25 = Path(__file__).parents[3] / "fib25/heldout.npy"
THICKNESS, ROWS, COLUMNS = 64, 96, 128
ANGLES = np.radians(np.linspace(-60, 60, 13))
GAIN, OFFSET, NOISE = 37.0, 900.0, 4.1


def views_of(volume: np.ndarray) -> np.ndarray:
    """Ax of a slab whose tissue goes on to both sides, mirrored: (views, rows, columns)."""
    wide = np.concatenate([volume, volume[..., ::-1]] * 2, axis=2)[:, :ROWS]
    slices = np.ascontiguousarray(wide.transpose(1, 0, 2), np.float32)
    geometry = TiltGeometry(THICKNESS, wide.shape[2], tuple(ANGLES), "perpendicular", COLUMNS)
    return ray_sums(slices, geometry, "strip").transpose(1, 0, 2)


@cache
def phantom() -> tuple[np.ndarray, Tissue]:
    """Views of a phantom, and what its own tissue is like."""
    grey = neuropil((THICKNESS, ROWS, COLUMNS), seed=3).astype(np.float32)
    x = (grey - grey.mean()) / grey.std()
    return views_of(x), measure_tissue([x], 16.0, "phantom")


def noisy(sums: np.ndarray, noise: float | np.ndarray = NOISE) -> np.ndarray:
    spread = np.broadcast_to(np.asarray(noise), len(sums))[:, None, None]
    return sums + spread * np.random.default_rng(0).standard_normal(sums.shape)


def fitted(measured: np.ndarray, tissue: Tissue, polarity: int = 1) -> Levels:
    def read(start: int, stop: int) -> np.ndarray:
        return measured[:, start:stop]

    return fit_levels(read, measured.shape[1], ANGLES.tolist(), THICKNESS, tissue, polarity)


@pytest.mark.parametrize("polarity", [1, -1])
def test_a_phantom_has_the_levels_that_were_put_in(polarity: int) -> None:
    sums, tissue = phantom()
    levels = fitted(polarity * GAIN * noisy(sums) + OFFSET, tissue, polarity)
    assert np.ptp(levels.gain) == 0
    assert not levels.remarks
    assert levels.gain[0] == pytest.approx(polarity * GAIN, rel=0.07)
    assert levels.noise * levels.gain == pytest.approx(polarity * GAIN * NOISE, rel=0.05)
    off = levels.offset - OFFSET
    assert (np.abs(off) < 3 * levels.offset_error).all()
    assert (levels.offset_error < 10 * GAIN * NOISE).all()
    assert (levels.gain_error < 0.06 * GAIN).all()
    assert (levels.noise_error < 0.1 * NOISE).all()


def test_real_tissue_has_the_levels_that_were_put_in() -> None:
    if not FIB25.is_file():
        pytest.skip("no fib25 beside the checkout")
    grey = np.load(FIB25, mmap_mode="r", allow_pickle=False)[:THICKNESS, :, :COLUMNS]
    sums = views_of((grey - np.float32(130.14)) / np.float32(33.90))
    levels = fitted(GAIN * noisy(sums) + OFFSET, load_tissue("small"))
    assert levels.gain[0] == pytest.approx(GAIN, rel=0.15)  # this slab's own contrast is less
    assert levels.noise * levels.gain == pytest.approx(GAIN * NOISE, rel=0.05)


def test_what_is_fitted_scales_with_what_is_measured() -> None:
    sums, tissue = phantom()
    one, other = fitted(noisy(sums), tissue), fitted(-3 * noisy(sums) + 7, tissue, -1)
    assert other.gain == pytest.approx(-3 * one.gain)
    assert other.offset == pytest.approx(-3 * one.offset + 7)
    assert other.noise == pytest.approx(one.noise)


def test_each_view_has_its_noise() -> None:
    sums, tissue = phantom()
    noise = np.linspace(3, 9, len(ANGLES))
    levels = fitted(noisy(sums, noise), tissue)
    assert levels.noise * levels.gain == pytest.approx(noise, rel=0.05)


def test_gains_that_jump_from_view_to_view_are_each_view_s_own() -> None:
    sums, tissue = phantom()
    gain = np.exp(0.2 * np.random.default_rng(1).standard_normal(len(ANGLES)))
    levels = fitted(gain[:, None, None] * noisy(sums), tissue)
    assert "each view has its own" in levels.remarks[0]
    assert np.std(np.log(levels.gain / gain)) < 0.6 * np.std(np.log(gain))


def test_places_without_data_do_not_count() -> None:
    sums, tissue = phantom()
    whole = noisy(sums)
    holed = whole.copy()
    holed[3, :, :30] = np.nan
    levels, before = fitted(holed, tissue), fitted(whole, tissue)
    assert levels.noise == pytest.approx(before.noise, rel=0.08)  # two tiles of three are left
    assert levels.gain == pytest.approx(before.gain, rel=0.05)
    assert levels.offset[3] == pytest.approx(whole[3, 16:80, 30:].mean(), rel=1e-6)


def test_only_bands_of_rows_are_read() -> None:
    sums, tissue = phantom()
    y, asked = noisy(sums), list[tuple[int, int]]()

    def read(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return y[:, :64]

    fit_levels(read, 10_000, ANGLES.tolist(), THICKNESS, tissue)
    assert [b - a for a, b in asked] == [64, 64, 64, 64]
    assert 0 < asked[0][0] < asked[-1][1] < 10_000


def test_electrons_that_pass_are_absorbed_by_the_slab() -> None:
    sums, tissue = phantom()
    lengths = (THICKNESS / np.cos(ANGLES))[:, None, None]
    passing = np.exp(-(lengths - 0.25 * sums) / THICKNESS)
    counts = np.random.default_rng(0).poisson(40_000 * passing).astype(np.float32)
    levels = fitted(-np.log(counts), tissue, -1)
    assert levels.gain[0] == pytest.approx(-0.25 / THICKNESS, rel=0.07)
    expected = 1 / np.sqrt(counts.mean(axis=(1, 2))) / (0.25 / THICKNESS)
    found = levels.noise * levels.gain / (-0.25 / THICKNESS)
    assert found == pytest.approx(expected, rel=0.1)  # tissue's own end is not far below


def test_what_cannot_be_fitted_is_refused() -> None:
    sums, tissue = phantom()
    with pytest.raises(DdgmError, match="has the spectrum of the prior's tissue"):
        fitted(noisy(0 * sums), tissue)
    dead = noisy(sums)
    dead[5] = 3.0
    with pytest.raises(DdgmError, match="view 5 is constant"):
        fitted(dead, tissue)
    with pytest.raises(DdgmError, match="16 x 16 are the least"):
        fitted(noisy(sums)[:, :12], tissue)
