"""What other programs read of a run's images: values, order of axes, voxel size and place.

Neuroglancer has its tests in tests/pipeline/view.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import ome_zarr_models
import pytest
import tensorstore
import xarray
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.volumes.coordinates import centre_of
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.runs import layer, spec_data
from tests.pipeline.sample_volumes import grey, write_volume
from tests.pipeline.store.levels.test_means import expected

pytestmark = pytest.mark.long
SHAPE, OFFSET, SIZE = (32, 131, 10), (10, 20, 7), (20, 16, 9.8)  # z, y, x; sizes in nm
LEVELS = [str(number) for number in range(4)]
CORNER = [o * s for o, s in zip(OFFSET, SIZE, strict=True)]
WINDOWS = {"reconstruction": (0, 255), "truth": (0, 255), "spread": (0, 64), "measured": (0, 1)}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Path:
    """The volume of a run whose truth is `grey(SHAPE)`, two blocks of it."""
    folder = tmp_path_factory.mktemp("read")
    size: Any = SIZE
    url = write_volume(folder / "em", grey(SHAPE), offset=OFFSET, voxel_size_nm=size)
    data = spec_data(url, folder / "run", tiny_prior, prior={"any_voxel_size": True})
    data["method"] |= {"steps": 1, "gradient_steps": 1, "samples": 2}
    data["output"]["layers"] = list(WINDOWS)
    data["block"] = {"slices": 8, "batch": 8}
    for block in range(2):
        run_alone(Spec.model_validate(data), block)
    return folder / "run/volume.zarr"


@contextmanager
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def check(
    values: Sequence[Any], scales: Sequence[Sequence[float]], firsts: Sequence[Sequence[float]]
) -> None:
    """Hold all levels of the truth against the source.

    Args:
        values: of each level, (z, y, x).
        scales: sides of each level's voxels, in nm, (z, y, x).
        firsts: centres of each level's first voxel, in nm, (z, y, x).
    """
    assert len(values) == len(scales) == len(firsts) == len(LEVELS)
    wanted, before = grey(SHAPE), SIZE
    for found, scale, first in zip(values, scales, firsts, strict=True):
        step: Any = [round(side / b) for side, b in zip(scale, before, strict=True)]
        assert scale == pytest.approx([s * b for s, b in zip(step, before, strict=True)])
        wanted = expected(wanted, step)
        np.testing.assert_array_equal(np.asarray(found), wanted)
        assert [f - side / 2 for f, side in zip(first, scale, strict=True)] == pytest.approx(CORNER)
        before = tuple(scale)


def transforms(steps: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Scale and translation of a level."""
    kinds = [step["type"] for step in steps]
    assert kinds == ["scale", "translation"]
    return steps[0]["scale"], steps[1]["translation"]


def test_zarr_python(volume: Path) -> None:
    with no_warnings():
        root: Any = zarr.open_group(volume, mode="r")
        (image,) = root["truth"].attrs["ome"]["multiscales"]
        assert [axis["name"] for axis in image["axes"]] == ["z", "y", "x"]
        assert {axis["unit"] for axis in image["axes"]} == {"nanometer"}
        arrays = [root["truth"][dataset["path"]] for dataset in image["datasets"]]
        assert {array.metadata.dimension_names for array in arrays} == {("z", "y", "x")}
        places = [transforms(d["coordinateTransformations"]) for d in image["datasets"]]
        check([array[:] for array in arrays], *zip(*places, strict=True))


@pytest.mark.parametrize("name", WINDOWS)
def test_ome_zarr_models_finds_nothing_wrong_with_an_image(volume: Path, name: str) -> None:
    with no_warnings():
        group = ome_zarr_models.open_ome_zarr(zarr.open_group(volume / name, mode="r"))
        ome: Any = group.attributes.ome  # type: ignore[union-attr]
    assert type(group).__name__ == "Image"
    (image,) = ome.multiscales
    assert [dataset.path for dataset in image.datasets] == LEVELS
    assert [axis.name for axis in image.axes] == ["z", "y", "x"]
    (channel,) = ome.omero["channels"]
    window = channel["window"]
    low, high = WINDOWS[name]
    assert window == {"min": low, "max": high, "start": low, "end": high}


@pytest.mark.parametrize("driver", ["zarr3", "auto"])
def test_tensorstore_knows_nanometres(volume: Path, driver: str) -> None:
    def opened(level: str) -> Any:
        store = {"driver": "file", "path": f"{volume}/truth/{level}/"}
        return tensorstore.open({"driver": driver, "kvstore": store}).result()

    with no_warnings():
        arrays = [opened(level) for level in LEVELS]
        values = [array.read().result() for array in arrays]
    for array in arrays:
        assert array.domain.labels == ("z", "y", "x")
        assert {unit.base_unit for unit in array.dimension_units} == {"nm"}
    scales = [[unit.multiplier for unit in array.dimension_units] for array in arrays]
    firsts = [[c + s / 2 for c, s in zip(CORNER, scale, strict=True)] for scale in scales]
    check(values, scales, firsts)  # of places it knows nothing


def test_ome_zarr_py(volume: Path) -> None:
    def read(name: str) -> Any:
        with no_warnings():
            place = parse_url(volume / name)
            assert place is not None
            (node,) = Reader(place)()
        return node

    node = read("truth")
    about = node.metadata
    assert [axis["name"] for axis in about["axes"]] == ["z", "y", "x"]
    places = [transforms(steps) for steps in about["coordinateTransformations"]]
    check(node.data, *zip(*places, strict=True))
    for name, window in WINDOWS.items():
        assert read(name).metadata["contrast_limits"] == [list(window)]


def test_ddgm_itself(volume: Path) -> None:
    opened = [open_volume(str(volume / "truth"), int(level)) for level in LEVELS]
    infos = [each.info for each in opened]
    places = [centre_of((0, 0, 0), info.voxel_size_nm, info.origin_nm) for info in infos]
    values = [each.read(each.info.bounds).data for each in opened]
    check(values, [info.voxel_size_nm for info in infos], places)
    floats = open_volume(str(volume / "spread"))
    found = floats.read(floats.info.bounds).data
    np.testing.assert_array_equal(found, layer(volume.parent, "spread"))


def test_xarray_and_dask(volume: Path) -> None:
    """xarray takes one level at a time: to it, axes of one name have one length."""
    values, scales = [], []
    for level in LEVELS:
        others = [name for name in LEVELS if name != level]
        with no_warnings():
            dataset = xarray.open_zarr(
                volume / "truth", consolidated=False, drop_variables=others, chunks={}
            )
            plain = dask.array.from_zarr(str(volume / "truth" / level))
        array = dataset[level]
        assert array.dims == ("z", "y", "x")
        assert isinstance(array.data, dask.array.Array)
        np.testing.assert_array_equal(array, plain)
        values.append(array)
        scales.append([float(unit.split()[0]) for unit in array.attrs["dimension_units"]])
    firsts = [[c + s / 2 for c, s in zip(CORNER, scale, strict=True)] for scale in scales]
    check(values, scales, firsts)


def test_napari(volume: Path) -> None:
    plugin: Any = pytest.importorskip(
        "napari_ome_zarr",
        reason="55 packages more, of 180 MB, for one test: pip install napari-ome-zarr runs it",
    )
    layers: Any = pytest.importorskip("napari.layers")
    path = str(volume / "truth")
    with no_warnings():
        ((data, about, kind),) = plugin.napari_get_reader(path)(path)
    assert kind == "image"
    shown = layers.Image(data, **about)
    assert shown.multiscale
    assert shown.axis_labels == ("z", "y", "x")
    assert {str(unit) for unit in shown.units} == {"nanometer"}
    assert shown.contrast_limits == [0, 255]
    # napari-ome-zarr 0.10 takes a level's scale, and leaves its translation where it is
    assert shown.scale == pytest.approx(SIZE)
    assert shown.data[0].shape == SHAPE
    np.testing.assert_array_equal(np.asarray(shown.data[0]), grey(SHAPE))
