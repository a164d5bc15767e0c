"""Turns a .npy file, a TIFF stack or a zarr array into a precomputed volume that a run can read."""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.pipeline.volumes.array_files import ArrayFile, named, open_array
from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.cloudvolume_fixes import cloud_volume
from ddgm.pipeline.volumes.coordinates import Point, nearest_voxel
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import SourceError

DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
BRICK_BYTES = 2**28  # about what is read at once
JPEG_SIDE = 65500  # libjpeg's largest; a chunk is stored as one image, chunk² pixels high


@dataclass(frozen=True)
class Ingested:
    """The volume that was written, and how the array was read; triples are in z, y, x order."""

    axes: str  # of the array, slowest first; those that are not z, y or x have length 1
    shape: Triple
    voxel_size_nm: Point
    offset: Triple  # the volume's first voxel


def ingest(
    array_path: Path,
    url: str,
    voxel_size_nm: Point | None = None,
    *,
    encoding: Literal["raw", "jpeg"] = "raw",
    chunk: int = 64,
    offset: Triple | None = None,
    axes: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Ingested:
    """Copies an array into a new precomputed volume, brick by brick; its dtype is kept.

    array_path: a .npy file, a TIFF stack, a folder of 2D TIFFs, a zarr array or an OME-Zarr image.
    url: where to write, as cloud-volume names it; nothing may be there yet.
    voxel_size_nm, offset: in z, y, x order; the offset, in voxels, is the volume's first voxel.
        Default: what an OME-Zarr image says; the offset of another array is 0.
    chunk: the edge of the cubes that the volume is stored in, in voxels.
    axes: the array's own axes, slowest first. Default: what an OME-Zarr image says, else "zyx".
    progress: called with the number of bricks written and the number of all.

    Raises DdgmError, and leaves no volume behind, when something cannot be used.
    """
    _check_settings(voxel_size_nm, encoding, chunk, offset, axes)
    path = Path(array_path)
    with ExitStack() as files:
        file = open_array(path, files)
        stack = Stack(file.array, _agreed_axes(file, axes, path), path)
        _check_array(stack, encoding)
        taken = _place_of(file, stack, voxel_size_nm, offset)
        info = cloud_volume().create_new_info(
            num_channels=1,
            layer_type="image",
            data_type=np.dtype(file.array.dtype).name,
            encoding=encoding,
            resolution=[int(s) if s == int(s) else float(s) for s in taken.voxel_size_nm[::-1]],
            voxel_offset=taken.offset[::-1],
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
    return taken


@dataclass(frozen=True)
class Stack:
    """An array on disk, read box by box in z, y, x order whatever the order of its own axes."""

    array: Any  # has shape and dtype, and is indexed with slices
    axes: str  # a letter for each of its axes; those that are not z, y or x have length 1
    path: Path

    @property
    def shape(self) -> Triple:
        z, y, x = (int(self.array.shape[self.axes.index(axis)]) for axis in "zyx")
        return z, y, x

    def read(self, box: Box) -> np.ndarray:
        """The voxels of `box`, (z, y, x), C-contiguous, little-endian. Raises DdgmError."""
        parts: dict[str, slice] = dict(zip("zyx", box.slices(), strict=True))
        kept = [axis for axis in self.axes if axis in parts]
        with named(self.path):
            data = np.asarray(self.array[tuple(parts.get(axis, 0) for axis in self.axes)])
            data = data.transpose([kept.index(axis) for axis in "zyx"])
        # cloud-volume writes the bytes as they lie, and precomputed means little-endian.
        return np.ascontiguousarray(data, data.dtype.newbyteorder("<"))


def _agreed_axes(file: ArrayFile, asked: str | None, path: Path) -> str:
    """The array's axes: as its metadata have them, else as asked for.

    Raises:
        DdgmError: both are there and differ.
    """
    if file.axes is None:
        return asked or "zyx"
    if asked is not None and asked != "".join(axis for axis in file.axes if axis in "zyx"):
        raise DdgmError(f"axes {asked!r}: {path} says {file.axes!r}; give no --axes, or these")
    return file.axes


def _place_of(
    file: ArrayFile, stack: Stack, voxel_size_nm: Point | None, offset: Triple | None
) -> Ingested:
    """Voxel size and offset: as asked for, else as the metadata have them.

    Raises:
        DdgmError: there is no voxel size.
    """
    size = voxel_size_nm or file.voxel_size_nm
    if size is None:
        fault = f"voxel_size_nm: {stack.path} does not say how large its voxels are"
        raise DdgmError(f"{fault}; give --voxel-size Z Y X, in nanometres")
    if offset is None:
        offset = nearest_voxel(file.origin_nm, size) if file.origin_nm else (0, 0, 0)
    return Ingested(stack.axes, stack.shape, size, offset)


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
    """Index in the volume, x, y, z, of a box of the array in z, y, x."""
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
        return bool(open_volume(url, 0).info)
    except SourceError as error:
        if error.kind == "not_found":
            return False
        raise


def _check_settings(
    voxel_size_nm: Point | None, encoding: str, chunk: int, offset: Triple | None, axes: str | None
) -> None:
    sizes = voxel_size_nm
    if sizes is not None and (len(sizes) != 3 or not all(0 < s < math.inf for s in sizes)):
        raise DdgmError(f"voxel_size_nm {sizes}: give three sizes above 0, as z, y, x")
    if axes is not None and sorted(axes) != ["x", "y", "z"]:
        raise DdgmError(f"axes {axes!r}: give z, y and x in the array's order, as in 'zyx'")
    if encoding not in ("raw", "jpeg"):
        raise DdgmError(f"encoding {encoding!r}: choose raw or jpeg")
    if chunk < 1 or (encoding == "jpeg" and chunk**2 > JPEG_SIDE):
        raise DdgmError(f"chunk {chunk}: choose 1 or more, and at most 255 with jpeg; 64 is usual")
    if offset is not None and len(offset) != 3:
        raise DdgmError(f"offset {offset}: give three whole numbers, as z, y, x")


def _check_array(stack: Stack, encoding: str) -> None:
    array, path = stack.array, stack.path
    shape, dtype = tuple(array.shape), np.dtype(array.dtype).name
    lengths = dict(zip(stack.axes, shape, strict=False))
    if len(shape) != len(stack.axes) or 0 in shape:
        wanted = "three axes" if stack.axes == "zyx" else f"the axes {stack.axes}"
        raise DdgmError(f"array {path}: its shape is {shape}; give one with {wanted}, none empty")
    if long := [a for a, length in lengths.items() if a not in "zyx" and length > 1]:
        fault = f"axis {long[0]} has length {lengths[long[0]]}, where 1 is needed"
        raise DdgmError(f"array {path}: {fault}; save one time and one channel of it")
    if dtype not in DTYPES:
        raise DdgmError(f"array {path}: {dtype} cannot be stored; convert to {', '.join(DTYPES)}")
    if encoding == "jpeg" and dtype != "uint8":
        raise DdgmError(f"encoding jpeg: {path} holds {dtype}; convert to uint8 or choose raw")
