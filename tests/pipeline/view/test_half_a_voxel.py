"""A layer lies on its source in Neuroglancer: seen in a browser, by the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.view.browser import browsing, find_browser, picture
from ddgm.pipeline.view.server import serving
from tests.pipeline.runs import small_spec
from tests.pipeline.sample_volumes import Triple, write_volume

neuroglancer = pytest.importorskip("neuroglancer")
pytestmark = [
    pytest.mark.process,
    pytest.mark.server,
    pytest.mark.skipif(find_browser() is None, reason="needs Chromium"),
]
SHAPE, OFFSET = (32, 64, 16), (10, 20, 7)
CUBE: tuple[Triple, Triple] = ((20, 38, 9), (23, 41, 12))  # first voxel, and the one past the last
PIXELS = 20  # of the screen for a voxel along x
PLANES = {"xy": "yx", "xz": "zx"}  # layouts, with the axes of rows and columns


@pytest.mark.parametrize("size", [(16, 16, 16), (40, 16, 16)], ids=["cubes", "thick"])
def test_a_layer_is_where_its_source_is(
    tmp_path: Path, tiny_prior: Path, viewer: Any, size: Triple
) -> None:
    data = np.zeros(SHAPE, np.uint8)
    data[tuple(slice(a - o, b - o) for a, b, o in zip(*CUBE, OFFSET, strict=True))] = 255
    url = write_volume(tmp_path / "em", data, offset=OFFSET, voxel_size_nm=size)
    box = {"z": [14, 42], "y": [26, 74], "x": [8, 20]}  # not where the source begins
    spec = small_spec(
        url,
        tmp_path / "run",
        tiny_prior,
        source={"box": box},
        slab={"thickness": 28},
        prior={"any_voxel_size": True},
        method={"steps": 1, "gradient_steps": 1},
    )
    run_alone(spec, 0)
    with serving({"a": Folder(str(tmp_path))}) as base, browsing(viewer.get_viewer_url()):
        for plane in PLANES:
            there = place(viewer, f"{base}/a/em/|neuroglancer-precomputed:", plane, size)
            ours = place(viewer, f"{base}/a/run/volume.zarr/truth/|zarr3:", plane, size)
            assert np.abs(there - ours).max() <= 1, (plane, there, ours)


@pytest.fixture
def viewer() -> Iterator[Any]:
    yield neuroglancer.Viewer()
    neuroglancer.stop()


def place(viewer: Any, source: str, plane: str, size: Triple) -> np.ndarray:
    """First and last row and column of the screen where a volume's cube is seen."""
    sides = size[::-1]  # x, y, z
    middle = [(a + b) / 2 for a, b in zip(*CUBE, strict=True)][::-1]
    with viewer.txn() as state:
        state.dimensions = neuroglancer.CoordinateSpace(names="xyz", units="nm", scales=sides)
        state.layers.clear()
        state.layers["volume"] = neuroglancer.ImageLayer(source=source)
        state.layout = plane
        state.cross_section_background_color = "black"
        state.position = middle
        state.cross_section_scale = 1 / PIXELS
        state.show_axis_lines = state.show_scale_bar = state.show_default_annotations = False
    pixels = np.asarray(picture(viewer, (600, 600)).image_pixels)
    rows, columns = np.nonzero(pixels[..., :3].mean(axis=2) > 127)
    found = np.array([rows.min(), rows.max(), columns.min(), columns.max()])
    lengths = [3 * PIXELS * sides["xyz".index(axis)] // 16 for axis in PLANES[plane]]
    assert np.abs(found[1::2] + 1 - found[::2] - lengths).max() <= 1, (plane, found)
    return found
