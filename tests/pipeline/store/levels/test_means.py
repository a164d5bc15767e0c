"""Area means: exact, rounded half to even, the same however the image is cut."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from ddgm.pipeline.store.levels.means import AreaMeans

Steps = tuple[int, int, int]
STEPS: list[Steps] = [
    (1, 1, 2), (1, 2, 1), (2, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1), (2, 2, 2)
]  # fmt: skip


def expected(image: np.ndarray, step: Steps) -> np.ndarray:
    """Means in float64, over the voxels that there are, by another way."""
    ends = [(0, -n % s) for n, s in zip(image.shape, step, strict=True)]
    padded = np.pad(image.astype(np.float64), ends, constant_values=np.nan)
    split = [n for size, s in zip(padded.shape, step, strict=True) for n in (size // s, s)]
    means = np.nanmean(padded.reshape(split), axis=(1, 3, 5))
    return (np.rint(means) if image.dtype == np.uint8 else means).astype(image.dtype)


def means(image: np.ndarray, step: Steps, *cuts: int) -> np.ndarray:
    """What the pieces give that the image is cut into, at the same places along all axes."""
    found = AreaMeans(image.shape, step, image.dtype.name)
    edges = [sorted({0, n, *(c for c in cuts if c < n)}) for n in image.shape]
    for spans in product(*(pairwise(e) for e in edges)):
        start = [first for first, _ in spans]
        found.add(image[tuple(slice(*span) for span in spans)], start)
    return found.means()


def random_image(shape: Steps, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    if dtype == "uint8":
        return rng.integers(0, 256, shape, dtype)
    return rng.normal(scale=1e3, size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shape", [(8, 6, 4), (7, 9, 5), (1, 2, 3)])
def test_means_are_those_over_the_voxels_that_there_are(
    shape: Steps, step: Steps, dtype: str
) -> None:
    image = random_image(shape, dtype)
    whole = means(image, step)
    assert whole.dtype == image.dtype
    np.testing.assert_array_equal(whole, expected(image, step))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("cuts", [(4,), (3, 6), (1, 2, 5), (5,)])
def test_means_are_the_same_however_the_image_is_cut(cuts: tuple[int, ...], dtype: str) -> None:
    image = random_image((11, 8, 9), dtype)
    for step in STEPS:
        assert means(image, step, *cuts).tobytes() == means(image, step).tobytes()


def test_halves_go_to_the_even_neighbour() -> None:
    pairs = np.array([[0, 1], [1, 2], [2, 3], [254, 255], [255, 255]], "uint8")[None]
    assert means(pairs, (1, 1, 2)).ravel().tolist() == [0, 2, 2, 254, 255]
    eights = np.zeros((2, 2, 2), "uint8")
    for total, mean in {3: 0, 4: 0, 5: 1, 11: 1, 12: 2, 13: 2, 20: 2, 21: 3}.items():
        eights.flat[0] = total
        assert means(eights, (2, 2, 2)).item() == mean


def test_what_no_piece_covers_counts_as_zero() -> None:
    found = AreaMeans((2, 2, 4), (2, 2, 2), "uint8")
    found.add(np.full((1, 2, 4), 100, "uint8"), (0, 0, 0))
    assert found.means().tolist() == [[[50, 50]]]
