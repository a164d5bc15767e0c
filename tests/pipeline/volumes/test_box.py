"""Boxes, and their parts."""

from __future__ import annotations

import numpy as np
import pytest

from ddgm.pipeline.volumes.box import Box


def test_box_knows_its_shape_index_and_name() -> None:
    box = Box((2, 3, 4), (4, 6, 8))
    assert box.shape == (2, 3, 4)
    assert box.slices((1, 1, 1)) == (slice(1, 3), slice(2, 5), slice(3, 7))
    assert str(box) == "z 2:4, y 3:6, x 4:8"
    assert box.inside(box)
    assert not Box((2, 3, 3), (4, 6, 8)).inside(box)
    assert not Box((2, 3, 4), (4, 7, 8)).inside(box)


@pytest.mark.parametrize(
    "box", [Box((0, 0, 0), (7, 9, 8)), Box((-3, 2, 1), (1, 3, 9)), Box((4, 4, 4), (5, 5, 5))]
)
def test_parts_of_a_box_tile_it_and_cross_no_chunk_border(box: Box) -> None:
    origin, chunk = (1, 2, 0), (3, 4, 8)
    seen = np.zeros(box.shape, int)
    for part in box.parts(origin, chunk):
        seen[part.slices(box.start)] += 1
        ranges = zip(part.start, part.stop, origin, chunk, strict=True)
        assert all((a - o) // c == (b - 1 - o) // c for a, b, o, c in ranges)
    assert (seen == 1).all()
