"""Views are where the paper has them, and a lateral detector misses nothing."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ddgm.core.geometry import GeometryError, TiltGeometry, held_out_views, reach
from ddgm.core.projectors.astra_matrix import projection_matrix

BASE = TiltGeometry.uniform(16, 24, 9, detector="lateral")


def mass_per_view(geometry: TiltGeometry) -> np.ndarray:
    """What each view sees of each pixel, (views, thickness, width)."""
    a = projection_matrix(geometry).toarray().astype(np.float64)
    shape = geometry.views, geometry.bins, geometry.thickness, geometry.width
    return a.reshape(shape).sum(axis=1)


def test_angles_include_both_ends_and_are_evenly_spaced() -> None:
    angles = np.degrees(TiltGeometry.uniform(128, 128).angles)
    assert len(angles) == 128
    assert angles[0] == pytest.approx(-60, abs=1e-12)
    assert angles[-1] == pytest.approx(60, abs=1e-12)
    assert np.diff(angles) == pytest.approx(120 / 127)


@pytest.mark.parametrize(("views", "every"), [(128, 8), (61, 8), (24, 4), (9, 2), (7, 3)])
def test_views_are_held_out_in_pairs_and_never_the_outermost(views: int, every: int) -> None:
    out = held_out_views(views, every)
    assert sorted(views - 1 - i for i in out) == list(out)
    assert 0 not in out
    assert len(out) == pytest.approx(views / every, abs=2)
    g = TiltGeometry.uniform(16, 24, views, detector="lateral")
    kept = g.of_views([i for i in range(views) if i not in out])
    assert (kept.bins, kept.reach) == (g.bins, g.reach)


def test_a_perpendicular_detector_is_as_wide_as_the_slice() -> None:
    assert TiltGeometry.uniform(128, 325).bins == 325


def test_a_lateral_detector_is_as_wide_as_the_steepest_ray_reaches() -> None:
    geometry = TiltGeometry.uniform(128, 325, detector="lateral")
    assert geometry.bins == 325 + 2 * (math.ceil(64 * math.tan(math.radians(60))) + 1)


@pytest.mark.parametrize("thickness", [1, 15, 16, 31])
@pytest.mark.parametrize("degrees", [(-60.0, 60.0), (-30.0, 60.0), (-45.0, 45.0), (-70.0, 10.0)])
def test_lateral_bins_miss_nothing(thickness: int, degrees: tuple[float, float]) -> None:
    """Corner pixels keep all of what a far wider detector sees of them, in every view."""
    geometry = TiltGeometry.uniform(thickness, 9, 8, degrees, "lateral")
    wider = replace(geometry, bins=geometry.bins + 40)
    assert mass_per_view(geometry) == pytest.approx(mass_per_view(wider), rel=1e-6)


def test_much_narrower_bins_would_miss_the_corners() -> None:
    narrow = replace(BASE, bins=BASE.bins - 4)
    assert mass_per_view(narrow)[0, 0].min() < 0.9 * mass_per_view(BASE)[0, 0].min()


def test_reach_follows_the_steeper_side() -> None:
    steep = (math.radians(-30), math.radians(60))
    assert reach(100, steep) == reach(100, steep[::-1]) == math.ceil(50 * math.tan(steep[1])) + 1


def test_the_same_geometry_has_the_same_digest() -> None:
    assert BASE.digest == TiltGeometry.uniform(16, 24, 9, detector="lateral").digest


def test_the_digest_of_squares_is_what_it_was_before_there_were_other_pixels() -> None:
    """So that what is kept of their projectors stays of use."""
    fields = {"thickness": 16, "width": 24, "angles": [0.0], "detector": "lateral", "bins": 26}
    text = json.dumps(fields).encode()
    one = TiltGeometry(16, 24, (0.0,), "lateral", 26)
    assert one.digest == hashlib.sha256(text).hexdigest()


def test_views_are_paired_by_angle_and_noise_in_any_order() -> None:
    noise = (1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0, 2.0, 1.0)
    assert BASE.is_paired
    assert replace(BASE, noise=noise).is_paired
    assert replace(BASE, noise=noise).of_views([4, 8, 1, 0, 7]).is_paired
    assert not replace(BASE, noise=noise[1:] + noise[:1]).is_paired
    assert not BASE.of_views([0, 1, 8]).is_paired


@pytest.mark.parametrize("noise", [(1.0,) * 8, (0.0,) * 9, (math.inf,) * 9])
def test_every_view_has_a_noise_above_0(noise: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError, match="noise: "):
        replace(BASE, noise=noise)


@pytest.mark.parametrize(
    "change",
    [
        {"thickness": 17},
        {"width": 25},
        {"angles": (np.nextafter(BASE.angles[0], 0.0).item(), *BASE.angles[1:])},
        {"angles": BASE.angles[::-1]},
        {"detector": "perpendicular"},
        {"bins": BASE.bins + 1},
        {"aspect": 10.0},
        {"noise": (1.0,) * 9},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_field_changes_the_digest(change: dict) -> None:
    assert replace(BASE, **change).digest != BASE.digest
