"""Figures: what is drawn where."""

import numpy as np
import pytest

from ddgm.pipeline import figures
from ddgm.pipeline.figures import Panel
from ddgm.pipeline.report import figures as report_figures
from tests.pipeline.pages import decoded


@pytest.mark.parametrize("width", [128, 512, 1568])
def test_sinogram_and_slices_share_their_lateral_axis(width: int) -> None:
    reach, black = 40, (0.0, 1.0)
    image, sinogram = np.ones((64, width)), np.ones((64, width + 2 * reach))
    image[:, width // 4] = 0  # the same column of tissue
    sinogram[:, width // 4 + reach] = 0
    panels = [Panel("y", sinogram, black, degrees=(-60, 60)), Panel("x", image, black)]
    picture = decoded(figures.stack(panels, width, 16, "note"))[..., 0]
    height = picture.shape[0]
    above, below = picture[height // 4] < 0.05, picture[int(height * 0.7)] < 0.05
    assert above.any()
    np.testing.assert_array_equal(above, below)
    scale = int(below.sum())  # dots to a pixel
    assert picture.shape[1] >= (width + 2 * reach) * scale


def test_a_slice_too_wide_for_the_page_is_made_smaller() -> None:
    png = figures.stack([Panel("x", np.zeros((64, 6000)), (0, 1))], 6000, 8, "")
    height, width = decoded(png).shape[:2]
    assert 1900 < width < 2200
    assert height < 300


@pytest.mark.parametrize(("aspect", "shape"), [(1.0, (40, 60)), (10.0, (40, 60)), (0.25, (40, 60))])
def test_pixels_are_drawn_with_their_own_proportions(aspect: float, shape: tuple[int, int]) -> None:
    image = np.zeros(shape)
    picture = decoded(figures.stack([Panel("", image, (0, 1))], shape[1], 4, "", aspect))[..., 0]
    black = picture < 0.05
    high = np.count_nonzero(black[:, picture.shape[1] // 2])
    wide = np.count_nonzero(black[26 + high // 2])
    assert high / wide == pytest.approx(aspect * shape[0] / shape[1], rel=0.03)


@pytest.mark.parametrize(
    ("width_nm", "expected"),
    [(128 * 16, (500, "500 nm")), (1568 * 16, (5000, "5 µm")), (40, (10, "10 nm"))],
)
def test_scale_bar_is_round_and_short(width_nm: float, expected: tuple[float, str]) -> None:
    assert figures.scale_bar(width_nm) == expected


def test_lines_break_where_slices_are_missing() -> None:
    x, y = report_figures._with_gaps(np.array([5.0, 1, 2, 6]), np.array([50.0, 10, 20, 60]))
    np.testing.assert_array_equal(x, [1, 2, np.nan, 5, 6])
    np.testing.assert_array_equal(y, [10, 20, np.nan, 50, 60])


@pytest.mark.parametrize("label", ["truth", "restored-ddx-2:passes=3\n0.06", 8 * "mean of " + "MM"])
def test_labels_of_a_table_are_whole(label: str) -> None:
    """Ink in the column of labels, none at the picture's edge; images in shades of their own."""
    images = np.zeros((2, 3, 64, 64))
    images[..., :16] = 1000
    picture = decoded(figures.table(images, [label, "truth"], "title"))[..., 0]
    assert (picture[:, :3] == 1).all()
    inked = np.flatnonzero((picture < 0.5).any(axis=0))
    assert 3 <= inked[0] < 100
    assert picture.shape[1] - inked[-1] < 12
    black, white = picture[:, -40:] < 0.05, picture[:, -125:-110] > 0.95  # right, left of an image
    assert min(black.mean(), white.mean()) > 0.7
