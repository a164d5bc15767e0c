"""The formats of files that other programs read: each is an array on the disk, made empty.

All formats but npy say where the image lies, by the centre of its first voxel, as OME-Zarr does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ddgm.pipeline.volumes.box import Triple
from ddgm.pipeline.volumes.coordinates import Point, nearest_voxel, origin_of

Format = Literal["mrc", "tiff", "nrrd", "npy"]
NM_PER_CM = 1e7
ANGSTROMS_PER_NM = 10
NRRD = """NRRD0005
type: {type}
dimension: 3
space dimension: 3
sizes: {2} {1} {0}
space directions: ({x},0,0) (0,{y},0) (0,0,{z})
space units: "nm" "nm" "nm"
space origin: ({cx},{cy},{cz})
encoding: raw
endian: little

"""
NRRD_TYPES = {"float32": "float"}  # others are called as in numpy


@dataclass(frozen=True)
class Image:
    """Shape, type and place of a file's voxels; all in the order z, y, x.

    Attributes:
        shape: in voxels.
        dtype: of its values.
        size_nm: of a voxel.
        centre_nm: of its first voxel.
    """

    shape: Triple
    dtype: str
    size_nm: Point
    centre_nm: Point


@contextmanager
def npy(path: Path, image: Image) -> Iterator[np.ndarray]:
    """A numpy array; the format has no room for size and place."""
    array = np.lib.format.open_memmap(path, "w+", image.dtype, image.shape)
    yield array
    array.flush()


@contextmanager
def nrrd(path: Path, image: Image) -> Iterator[np.ndarray]:
    """NRRD, its header and raw values in one file."""
    z, y, x = map(repr, image.size_nm)
    cz, cy, cx = map(repr, image.centre_nm)
    kind = NRRD_TYPES.get(image.dtype, image.dtype)
    header = NRRD.format(*image.shape, type=kind, z=z, y=y, x=x, cz=cz, cy=cy, cx=cx).encode()
    path.write_bytes(header)
    little = np.dtype(image.dtype).newbyteorder("<")
    array = np.memmap(path, little, "r+", len(header), image.shape)
    yield array
    array.flush()


@contextmanager
def tiff(path: Path, image: Image) -> Iterator[np.ndarray]:
    """OME-TIFF, a page for each z, and BigTIFF from 4 GB on."""
    import tifffile

    sizes, centre = (dict(zip("ZYX", p, strict=True)) for p in (image.size_nm, image.centre_nm))
    pages = range(image.shape[0])
    places = {
        f"Position{a}": [centre[a] + (a == "Z") * k * sizes["Z"] for k in pages] for a in "XYZ"
    }
    units = {f"Position{a}Unit": ["nm"] * len(pages) for a in "XYZ"}
    about = {f"PhysicalSize{a}": size for a, size in sizes.items()}
    about |= {f"PhysicalSize{a}Unit": "nm" for a in sizes}
    array = tifffile.memmap(
        path,
        shape=image.shape,
        dtype=image.dtype,
        ome=True,
        photometric="minisblack",
        resolution=(NM_PER_CM / sizes["X"], NM_PER_CM / sizes["Y"]),
        resolutionunit="CENTIMETER",
        metadata={"axes": "ZYX", **about, "Plane": places | units},
    )
    yield array
    array.flush()


@contextmanager
def mrc(path: Path, image: Image) -> Iterator[np.ndarray]:
    """MRC2014, in ångströms; its bytes are signed, so uint8 becomes uint16."""
    import mrcfile
    from mrcfile.utils import mode_from_dtype

    mode = mode_from_dtype(np.dtype(image.dtype))
    made: Any = mrcfile.new_mmap(path, image.shape, mode)
    with made as file:
        file.set_volume()
        file.voxel_size = tuple(ANGSTROMS_PER_NM * side for side in image.size_nm[::-1])
        z, y, x = (ANGSTROMS_PER_NM * place for place in image.centre_nm)
        file.header.origin.x, file.header.origin.y, file.header.origin.z = x, y, z
        file.nstart = nearest_voxel(origin_of(image.centre_nm, image.size_nm), image.size_nm)[::-1]
        yield file.data
        header = file.header  # IMOD and others show what lies between these
        header.dmin, header.dmax, header.dmean, header.rms = _statistics(file.data)


def _statistics(data: np.ndarray) -> tuple[float, float, float, float]:
    """Least, greatest and mean value and standard deviation, a plane in memory at a time."""
    planes = [(p.min(), p.max(), p.mean(dtype=float), p.var(dtype=float)) for p in data]
    low, high, means, variances = np.array(planes, float).T
    return low.min(), high.max(), means.mean(), float(np.sqrt(means.var() + variances.mean()))


FORMATS: dict[Format, Callable[[Path, Image], AbstractContextManager[np.ndarray]]] = {
    "mrc": mrc,
    "tiff": tiff,
    "nrrd": nrrd,
    "npy": npy,
}
ENDINGS: dict[str, Format] = {
    ".mrc": "mrc",
    ".tiff": "tiff",
    ".tif": "tiff",
    ".nrrd": "nrrd",
    ".npy": "npy",
}
