"""Turns a .npy file, a TIFF stack or a zarr array into a precomputed volume that a run can read."""

import logging
import math
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.cloudvolume_fixes import cloud_volume
from ddgm.pipeline.volumes.volume import SourceError, Volume

DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
TIFF = (".tif", ".tiff")
BRICK_BYTES = 2**28  # about what is read at once
JPEG_SIDE = 65500  # libjpeg's largest; a chunk is stored as one image, chunk² pixels high


def ingest(
    array_path: Path,
    url: str,
    voxel_size_nm: tuple[float, float, float],
    *,
    encoding: Literal["raw", "jpeg"] = "raw",
    chunk: int = 64,
    offset: Triple = (0, 0, 0),
    axes: str = "zyx",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Copies an array into a new precomputed volume, brick by brick; its dtype is kept.

    array_path: a .npy file, a TIFF stack, a folder of 2D TIFFs, a zarr array or an OME-Zarr image.
    url: where to write, as cloud-volume names it; nothing may be there yet.
    voxel_size_nm, offset: in z, y, x order; the offset, in voxels, is the volume's first voxel.
    chunk: the edge of the cubes that the volume is stored in, in voxels.
    axes: the array's own axes, slowest first.
    progress: called with the number of bricks written and the number of all.

    Raises DdgmError, and leaves no volume behind, when something cannot be used.
    """
    _check_settings(voxel_size_nm, encoding, chunk, offset, axes)
    path = Path(array_path)
    with ExitStack() as files:
        array = _open(path, files)
        _check_array(array, path, encoding)
        stack = Stack(array, (axes.index("z"), axes.index("y"), axes.index("x")), path)
        info = cloud_volume().create_new_info(
            num_channels=1,
            layer_type="image",
            data_type=np.dtype(array.dtype).name,
            encoding=encoding,
            resolution=[int(s) if s == int(s) else float(s) for s in voxel_size_nm[::-1]],
            voxel_offset=offset[::-1],
            chunk_size=[chunk] * 3,
            volume_size=stack.shape[::-1],
        )
        with _destination(url) as (target, compress):
            volume = cloud_volume()(target, info=info, provenance={}, compress=compress)
            _copy(stack, volume, chunk, progress or (lambda done, total: None))
            _check_sample(stack, volume, chunk, exact=encoding == "raw")
            volume.provenance.sources = [str(path)]
            volume.commit_provenance()
            volume.commit_info()  # last: without it there is no volume


@dataclass(frozen=True)
class Stack:
    """An array on disk, read box by box in z, y, x order whatever the order of its own axes."""

    array: Any  # has shape and dtype, and is indexed with three slices
    order: Triple  # which of its axes are z, y and x
    path: Path

    @property
    def shape(self) -> Triple:
        z, y, x = (int(self.array.shape[axis]) for axis in self.order)
        return z, y, x

    def read(self, box: Box) -> np.ndarray:
        """The voxels of `box`, (z, y, x), C-contiguous, little-endian. Raises DdgmError."""
        index = [slice(None)] * 3
        for axis, part in zip(self.order, box.slices(), strict=True):
            index[axis] = part
        with _named(self.path):
            data = np.asarray(self.array[tuple(index)]).transpose(self.order)
        # cloud-volume writes the bytes as they lie, and precomputed means little-endian.
        return np.ascontiguousarray(data, data.dtype.newbyteorder("<"))


@dataclass(frozen=True)
class Pages:
    """Images of one shape as a (page, row, column) array, each decoded when it is asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype
    page: Callable[[int], np.ndarray]

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        pages, rows, columns = index
        return np.stack([self._read(p)[rows, columns] for p in range(pages.start, pages.stop)])

    def _read(self, number: int) -> np.ndarray:
        page = self.page(number)
        if page.shape != self.shape[1:] or page.dtype != self.dtype:
            found, first = f"{page.shape} {page.dtype}", f"{self.shape[1:]} {self.dtype}"
            raise ValueError(f"image {number} is {found}, the first is {first}")
        return page


def _copy(stack: Stack, volume: Any, chunk: int, progress: Callable[[int, int], None]) -> None:
    bricks = list(_bricks(stack.shape, chunk, stack.array.dtype.itemsize))
    for done, brick in enumerate(bricks, 1):
        volume[_place(brick, volume)] = stack.read(brick).T[..., None]
        progress(done, len(bricks))


def _bricks(shape: Triple, chunk: int, itemsize: int) -> Iterator[Box]:
    """Slabs one chunk deep, cut along y into whole chunks where a slab is larger than a brick."""
    rows = max(1, BRICK_BYTES // (chunk * chunk * shape[2] * itemsize)) * chunk
    return Box((0, 0, 0), shape).parts((0, 0, 0), (chunk, rows, shape[2]))


def _place(box: Box, volume: Any) -> tuple[slice, slice, slice]:
    """Where a box of the array lies in the volume, as the library's x, y, z index."""
    x, y, z = (int(first) for first in volume.voxel_offset)
    z_range, y_range, x_range = box.slices((-z, -y, -x))
    return x_range, y_range, z_range


def _check_sample(stack: Stack, volume: Any, chunk: int, exact: bool) -> None:
    """Reads the middle chunk back, and compares it with the array where the encoding is exact."""
    start = tuple(size // 2 // chunk * chunk for size in stack.shape)
    parts = Box((0, 0, 0), stack.shape).parts((0, 0, 0), (chunk, chunk, chunk))
    box = next(part for part in parts if part.start == start)
    read = np.asarray(volume[_place(box, volume)])[..., 0].T
    if exact and read.tobytes() != stack.read(box).tobytes():
        fault = f"what was written at {box} does not read back the same"
        raise DdgmError(f"url {volume.cloudpath}: {fault}; check the disk and write it again")


@contextmanager
def _destination(url: str) -> Iterator[tuple[str, bool | None]]:
    """The URL to write to, and its compression.

    A local volume grows beside its place and is moved there once it is whole, and its files are
    left uncompressed, so that any static server can serve them.
    """
    protocol, _, place = url.removeprefix("precomputed://").partition("://")
    if not place or protocol in ("http", "https", "zarr", "zarr2", "zarr3", "n5", "graphene"):
        remedy = "give a folder or a bucket, as in precomputed://file:///VOLUME"
        raise DdgmError(f"url {url}: no precomputed volume can be written there; {remedy}")
    folder = Path(place).expanduser().resolve()
    growing = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.partial")
    local = protocol == "file"
    if folder.exists() if local else _volume_exists(url):
        raise DdgmError(f"url {url}: it exists; remove it or choose another")
    try:
        if local:
            growing.mkdir(parents=True)
        yield (f"precomputed://file://{growing}", False) if local else (url, None)
        if local:
            growing.rename(folder)
    except (DdgmError, MemoryError):
        raise
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
        raise DdgmError(
            f"url {url}: cannot be written ({fault}); mend or choose another"
        ) from error
    finally:
        if local:
            shutil.rmtree(growing, ignore_errors=True)


def _volume_exists(url: str) -> bool:
    try:
        return bool(Volume(url, 0).info)
    except SourceError as error:
        if error.kind == "not_found":
            return False
        raise


def _check_settings(
    voxel_size_nm: tuple[float, float, float], encoding: str, chunk: int, offset: Triple, axes: str
) -> None:
    if len(voxel_size_nm) != 3 or not all(0 < size < math.inf for size in voxel_size_nm):
        raise DdgmError(f"voxel_size_nm {voxel_size_nm}: give three sizes above 0, as z, y, x")
    if sorted(axes) != ["x", "y", "z"]:
        raise DdgmError(f"axes {axes!r}: give z, y and x in the array's order, as in 'zyx'")
    if encoding not in ("raw", "jpeg"):
        raise DdgmError(f"encoding {encoding!r}: choose raw or jpeg")
    if chunk < 1 or (encoding == "jpeg" and chunk**2 > JPEG_SIDE):
        raise DdgmError(f"chunk {chunk}: choose 1 or more, and at most 255 with jpeg; 64 is usual")
    if len(offset) != 3 or min(offset) < 0:
        raise DdgmError(f"offset {offset}: give three whole numbers from 0 up, as z, y, x")


def _check_array(array: Any, path: Path, encoding: str) -> None:
    shape, dtype = tuple(array.shape), np.dtype(array.dtype).name
    if len(shape) != 3 or 0 in shape:
        raise DdgmError(f"array {path}: its shape is {shape}; give one with three axes, none empty")
    if dtype not in DTYPES:
        raise DdgmError(f"array {path}: {dtype} cannot be stored; convert to {', '.join(DTYPES)}")
    if encoding == "jpeg" and dtype != "uint8":
        raise DdgmError(f"encoding jpeg: {path} holds {dtype}; convert to uint8 or choose raw")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns whatever the readers raise into an error that names the array."""
    try:
        yield
    except (DdgmError, MemoryError):
        raise
    except Exception as error:
        fault = " ".join(f"{type(error).__name__}: {error}".split())
        raise DdgmError(f"array {path}: cannot be read ({fault}); mend or convert it") from error


def _open(path: Path, files: ExitStack) -> Any:
    """The array, unread: it has shape and dtype, and is indexed with slices. `files` closes it."""
    with _named(path):
        if path.suffix == ".npy" and path.is_file():
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if path.suffix.lower() in TIFF and path.is_file():
            return _open_tiff(path, files)
        if any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
            return _open_zarr(path)
        images = [file for file in path.glob("*") if file.suffix.lower() in TIFF]
        if images:
            return _open_images(sorted(images, key=_natural), files)
    known = "a .npy file, a .tif file, a folder of .tif files or a zarr folder"
    raise DdgmError(
        f"array {path}: {'unknown kind' if path.exists() else 'not there'}; give {known}"
    )


def _open_zarr(path: Path) -> Any:
    import zarr

    node: Any = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        return node
    attributes = dict(node.attrs)
    images = attributes.get("ome", attributes).get("multiscales")  # OME-Zarr 0.5, or 0.4
    if not images:
        raise ValueError("a zarr group that is no OME image; name the array inside it")
    return node[images[0]["datasets"][0]["path"]]


def _open_tiff(path: Path, files: ExitStack) -> Any:
    tifffile = _tifffile(files)
    series = files.enter_context(tifffile.TiffFile(path)).series
    if len(series) != 1:
        raise ValueError(f"it holds {len(series)} series of images; save it as one stack")
    if series[0].dataoffset is not None:  # uncompressed, in one piece
        return tifffile.memmap(path, mode="r")
    pages = series[0].pages
    return Pages(series[0].shape, series[0].dtype, lambda number: pages[number].asarray())


def _open_images(paths: list[Path], files: ExitStack) -> Any:
    tifffile = _tifffile(files)
    first = tifffile.imread(paths[0])
    shape = (len(paths), *first.shape)
    return Pages(shape, first.dtype, lambda number: tifffile.imread(paths[number]))


def _natural(path: Path) -> list[str | int]:
    """Sorts slice_9 before slice_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


class _RaiseErrors(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record.getMessage())


def _tifffile(files: ExitStack) -> Any:
    """The library, strict while `files` is open: of a file cut short it logs and reads a part."""
    try:
        import tifffile
    except ImportError as error:
        raise DdgmError("array: TIFF needs tifffile; run pip install tifffile") from error
    handler = _RaiseErrors(logging.ERROR)
    tifffile.logger().addHandler(handler)
    files.callback(tifffile.logger().removeHandler, handler)
    return tifffile
