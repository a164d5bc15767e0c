"""Arrays on disk, opened without being read: .npy, TIFF, folders of TIFFs, zarr, OME-Zarr."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.pipeline.volumes.coordinates import Point
from ddgm.pipeline.volumes.ome_zarr import ome_levels

TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class ArrayFile:
    """An array on disk, with what its file says of it.

    Attributes:
        array: has shape and dtype, and is indexed with slices.
        axes: a letter for each of its axes, slowest first, such as "tczyx"; None: not said.
        voxel_size_nm: (z, y, x); None: not said.
        origin_nm: the corner of its first voxel, (z, y, x); None: not said.
    """

    array: Any
    axes: str | None = None
    voxel_size_nm: Point | None = None
    origin_nm: Point | None = None


def is_clutter(path: Path) -> bool:
    """True for files that systems leave: .DS_Store, ._slice.tif, .nfs0012, Thumbs.db."""
    return path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini")


def open_array(path: Path, files: ExitStack) -> ArrayFile:
    """The array that a file or folder holds; `files` closes it.

    Raises:
        DdgmError: it is not there, of no known kind, or cannot be read.
    """
    with named(path):
        if path.suffix == ".npy" and path.is_file():
            return ArrayFile(np.load(path, mmap_mode="r", allow_pickle=False))
        if path.suffix.lower() in TIFF and path.is_file():
            return _open_tiff(path, files)
        if any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
            return _open_zarr(path)
        images = [p for p in path.glob("*") if p.suffix.lower() in TIFF and not is_clutter(p)]
        if images:
            return _open_images(images, files)
    known = "a .npy file, a .tif file, a folder of .tif files or a zarr folder"
    raise DdgmError(
        f"array {path}: {'unknown kind' if path.exists() else 'not there'}; give {known}"
    )


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn whatever the readers raise into an error that names the array."""
    try:
        yield
    except (DdgmError, MemoryError):
        raise
    except Exception as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())
        raise DdgmError(f"array {path}: cannot be read ({fault}); mend or convert it") from error


def _open_zarr(path: Path) -> ArrayFile:
    import zarr

    from ddgm.pipeline.volumes.limits.zarr_codecs import bounded

    node: Any = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return ArrayFile(bounded(node))
    level = ome_levels(dict(node.attrs))[0]
    return ArrayFile(bounded(node[level.path]), level.axes, level.voxel_size_nm, level.origin_nm)


def _open_tiff(path: Path, files: ExitStack) -> ArrayFile:
    import tifffile
    import zarr

    files.enter_context(_strict_tifffile())
    tiff = files.enter_context(tifffile.TiffFile(path))
    if len(tiff.series) != 1:
        raise ValueError(f"it holds {len(tiff.series)} series of images; save it as one stack")
    _check_grey(tiff)
    return ArrayFile(zarr.open(tiff.series[0].aszarr(level=0), mode="r"))


def _open_images(paths: list[Path], files: ExitStack) -> ArrayFile:
    import tifffile
    import zarr
    from natsort import natsorted

    files.enter_context(_strict_tifffile())
    paths = natsorted(paths)  # slice_9 before slice_10
    with tifffile.TiffFile(paths[0]) as tiff:
        _check_grey(tiff)
    images = tifffile.TiffSequence(paths, imread=_alike(tifffile.imread(paths[0])))
    return ArrayFile(zarr.open(images.aszarr(), mode="r"))


def _alike(first: np.ndarray) -> Callable[..., np.ndarray]:
    """A reader of images that refuses those of another shape or dtype than the first."""

    def read(path: Any, **options: Any) -> np.ndarray:
        import tifffile

        image = tifffile.imread(path, **options)
        if image.shape != first.shape or image.dtype != first.dtype:
            found, wanted = f"{image.shape} {image.dtype}", f"{first.shape} {first.dtype}"
            raise ValueError(f"{Path(path).name} is {found}, the first image is {wanted}")
        return image

    return read


def _check_grey(tiff: Any) -> None:
    """Refuse colours: their samples would count as voxels of an axis."""
    series = tiff.series[0]
    if "S" in series.axes or series.keyframe.photometric.name == "PALETTE":
        raise ValueError("it is in colour; save it in grey levels")


@contextmanager
def _strict_tifffile() -> Iterator[None]:
    """Make an error of what tifffile only logs: of a file cut short it reads a part."""
    import tifffile

    def refuse(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            raise ValueError(record.getMessage())
        return True

    tifffile.logger().addFilter(refuse)
    try:
        yield
    finally:
        tifffile.logger().removeFilter(refuse)
