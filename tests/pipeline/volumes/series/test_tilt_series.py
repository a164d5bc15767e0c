"""A measured series is what IMOD's formula says: sign, centre, binning, rotation, exclusion."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddgm.pipeline.volumes.series.tilt_series import TiltSeries
from ddgm.pipeline.volumes.series.views import View, write_views
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.volumes.series.blobs import SIGMA, Point, numbered, projected, raw_stack, turned

ANGLES = (-60.0, -20.0, 0.0, 45.0)
BLOBS: list[Point] = [(9, 3, -4), (-6, -8, 11), (0, 0.5, 0)]
EXACT = 3e-3  # of a peak of 6.3: what a cubic spline leaves of such blobs


def series(
    folder: Path, stack: np.ndarray, views: Sequence[View], binning: int = 1, thickness: int = 32
) -> TiltSeries:
    np.save(folder / "stack.npy", stack)
    write_views(folder / "views.csv", numbered(views))
    paths = str(folder / "stack.npy"), str(folder / "views.csv")
    return TiltSeries(*paths, thickness // binning, 1.6, binning)


def lateral(blobs: Sequence[Point], of: TiltSeries, binning: int = 1) -> np.ndarray:
    """What `read` must give of all rows: (rows, views, bins)."""
    rows, _ = of.shape
    v = (np.arange(rows) - (rows - 1) / 2)[:, None] * binning
    bins = (np.arange(of.bins) - (of.bins - 1) / 2)[None] * binning
    seen = [
        projected(blobs, view.angle, bins * np.cos(np.radians(view.angle)), v, binning * SIGMA)
        for view in of.used
    ]
    return np.stack(seen, axis=1)


@pytest.mark.parametrize("shape", [(40, 56), (41, 55)])
def test_a_stretched_row_is_the_view_at_the_slabs_own_lateral_places(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    views = [View(0, angle) for angle in ANGLES]
    made = series(tmp_path, raw_stack(BLOBS, views, shape), views)
    y = made.read(0, shape[0])
    assert y.shape == (shape[0], 4, made.bins)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, lateral(BLOBS, made), atol=EXACT)


def test_a_point_above_the_centre_moves_to_smaller_u_at_positive_tilt(tmp_path: Path) -> None:
    views = [View(0, 0.0), View(0, 30.0)]
    made = series(tmp_path, raw_stack([(10, 0, 0)], views, (21, 61)), views)
    level, tilted = made.read(10, 11)[0]
    middle = (made.bins - 1) / 2
    assert level.argmax() == middle
    assert tilted.argmax() == round(middle - 10 * np.tan(np.radians(30)))


def test_a_projector_of_ours_sees_a_point_where_the_series_has_it(tmp_path: Path) -> None:
    """The sign and the centre of both conventions are one."""
    from ddgm.core.geometry import TiltGeometry
    from ddgm.core.projectors.ray_sums import ray_sums

    views = [View(0, angle) for angle in ANGLES]
    made = series(tmp_path, raw_stack(BLOBS, views, (40, 56)), views)
    z, x = np.mgrid[:32, :56] - np.array([15.5, 27.5])[:, None, None]
    row = 20 - 19.5
    blob = sum(
        np.exp(-((z - bz) ** 2 + (row - by) ** 2 + (x - bx) ** 2) / (2 * 2.5**2))
        for bz, by, bx in BLOBS
    )
    angles = tuple(np.radians(ANGLES))
    geometry = TiltGeometry(32, 56, angles, "lateral", made.bins)
    sums = ray_sums(np.asarray(blob, np.float32)[None], geometry)[0]
    np.testing.assert_allclose(made.read(20, 21)[0], sums, atol=0.15)  # half a pixel is 0.7


@pytest.mark.parametrize("degrees", [-7.0, 12.0, 90.0, -90.0])
def test_rotation_and_shift_are_undone(tmp_path: Path, degrees: float) -> None:
    views = [turned(a, degrees, (0.3 * i, 2 - 1.3 * i)) for i, a in enumerate(ANGLES)]
    made = series(tmp_path, raw_stack(BLOBS, views, (64, 72)), views)
    across = (72, 64) if abs(degrees) == 90 else (64, 72)
    assert made.shape == across
    y, wanted = made.read(0, across[0]), lateral(BLOBS, made)
    inner = slice(16, -16)
    np.testing.assert_allclose(y[inner], wanted[inner], atol=EXACT)


@pytest.mark.parametrize(("binning", "shape"), [(2, (80, 112)), (3, (122, 170)), (4, (163, 225))])
def test_binned_pixels_lie_around_the_same_centre(
    tmp_path: Path, binning: int, shape: tuple[int, int]
) -> None:
    views = [View(0, angle) for angle in ANGLES]
    wide = [(binning * z, binning * y, binning * x) for z, y, x in BLOBS]
    stack = raw_stack(wide, views, shape, binning * SIGMA)
    made = series(tmp_path, stack, views, binning, thickness=32 * binning)
    y, wanted = made.read(0, made.shape[0]), lateral(wide, made, binning)
    moved = np.abs(wanted[:, :, 1:] - wanted[:, :, :-1]).max() / 4
    assert np.abs(y - wanted).max() < moved / 3  # of what a quarter of a binned pixel would make


def test_a_view_that_is_left_out_is_not_there(tmp_path: Path) -> None:
    views = [View(0, angle) for angle in ANGLES]
    views[1] = replace(views[1], use=0)
    stack = raw_stack(BLOBS, views, (40, 56))
    stack[1] = np.nan
    made = series(tmp_path, stack, views)
    assert made.info.views == ((-60.0, 1.0), (0.0, 1.0), (45.0, 1.0))
    np.testing.assert_allclose(made.read(0, 40), lateral(BLOBS, made), atol=EXACT)
    assert made.aligned(0, 4).shape == (3, 4, 56)


def test_gain_and_offset_are_taken_out_of_dark_and_bright_fields(tmp_path: Path) -> None:
    views = [View(0, a, gain=g, offset=3.0) for a, g in zip(ANGLES, (2, -1, 0.5, 1), strict=True)]
    stack = raw_stack(BLOBS, views, (40, 56))
    dark = series(tmp_path, stack, views)
    np.testing.assert_allclose(dark.read(0, 40), lateral(BLOBS, dark), atol=2 * EXACT)
    stack = np.exp(-stack)
    stack[:, 0, 0] = 0  # a dead pixel has no logarithm
    bright = replace(series(tmp_path, stack, views), signal="transmitted")
    y = bright.read(4, 40)
    np.testing.assert_allclose(y, lateral(BLOBS, bright)[4:], atol=2 * EXACT)
    assert np.isfinite(bright.read(0, 4)).all()


def test_what_lies_beside_a_view_is_the_mean_and_not_its_other_side(tmp_path: Path) -> None:
    views = [View(0, angle, offset=50.0) for angle in (-60, 0, 60)]
    stack = raw_stack([], views, (20, 40))
    stack[..., :4] += 7
    made = series(tmp_path, stack, views)
    y = made.read(0, 20)
    middle = made.bins // 2
    assert (y[:, 1, : middle - 40] == 0).all()  # fades out within 8 pixels
    assert np.abs(y[:, 1, middle + 20 :]).max() < 1e-5  # nothing comes round but a series' ripples
    left = y[:, 1, middle - 28 : middle - 19]
    assert (np.diff(left[10]) > -5e-3).all()
    moved = series(tmp_path, stack, [replace(view, dx=5) for view in views])
    beside = np.isnan(moved.aligned(0, 20))
    assert beside[..., :5].all()
    assert not beside[..., 5:].any()


def test_any_run_of_rows_gives_the_same_values_and_a_pickle_reads_alike(tmp_path: Path) -> None:
    views = [turned(a, 5, (1.5, -0.5)) for a in ANGLES]
    made = series(tmp_path, raw_stack(BLOBS, views, (64, 56)), views, binning=2)
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    np.testing.assert_allclose(again.read(13, 17), made.read(0, 32)[13:17], atol=1e-6)
    assert again.info == made.info


def test_rows_that_there_are_not_and_a_table_of_another_stack_are_refused(tmp_path: Path) -> None:
    views = [View(0, angle) for angle in ANGLES]
    made = series(tmp_path, raw_stack(BLOBS, views, (20, 30)), views)
    with pytest.raises(SourceError, match="rows 10 to 21 are not within its 20"):
        made.read(10, 21)
    write_views(tmp_path / "views.csv", numbered(views[:3]))
    with pytest.raises(SourceError, match=r"has 3 lines, and .*stack.npy has 4 views; give one"):
        replace(made).read(0, 2)


def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    views = [View(0, angle) for angle in ANGLES]
    stack = raw_stack(BLOBS, views, (20, 30))
    stack[2, 5, 5] = np.nan
    with pytest.raises(SourceError, match="view 2: pixels that are no numbers; set its `use` to 0"):
        series(tmp_path, stack, views).read(0, 20)
