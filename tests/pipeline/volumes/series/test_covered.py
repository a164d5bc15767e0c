"""Where a view has data: what is read there is measured, and fades out beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ddgm.pipeline.volumes.series.tilt_series import TiltSeries
from ddgm.pipeline.volumes.series.views import write_views
from tests.pipeline.volumes.series.blobs import numbered, turned


def test_what_is_covered_is_read_as_it_was_measured_and_the_rest_fades(tmp_path: Path) -> None:
    views = numbered([turned(0, 0), turned(-50, 7, (9, -4)), turned(60, -12, (-30, 3))])
    np.save(tmp_path / "stack.npy", np.ones((3, 80, 96), np.float32))
    write_views(tmp_path / "views.csv", views)
    paths = str(tmp_path / "stack.npy"), str(tmp_path / "views.csv")
    for binning in (1, 2):
        series = TiltSeries(*paths, thickness=16, voxel_size_nm=1.0, binning=binning)
        rows = series.shape[0]
        covered, read = series.covered(3, rows), series.read(3, rows)
        assert covered.shape == read.shape
        assert 0.2 < covered.mean() < 0.9
        assert np.abs(read[covered] - 1).max() < 1e-6
        whole = (read > 0.9999) & ~covered  # within a tenth of a pixel of a border
        assert whole.sum() < 0.01 * covered.sum()
