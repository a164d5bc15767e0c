"""A stack of views on disk, opened without being read."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.pipeline.volumes.array_files import open_array
from ddgm.pipeline.volumes.volume import SourceError

MRC = (".mrc", ".mrcs", ".st", ".ali", ".preali", ".rec", ".map")
DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}  # by MRC's mode
IMOD_STAMP = 1146047817  # bytes 152 to 155 of a header that IMOD wrote; flags follow
IMOD_SIGNED = 1
PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"PK": "zip"}  # by first bytes


@dataclass(frozen=True)
class Stack:
    """The views of a tilt series.

    Attributes:
        array: (views, rows, columns); has shape and dtype, and is indexed with slices.
        pixel_nm: the side of a pixel, as the file has it; None: not said.
        volume: True where the file says that it is a volume, not a stack of images.
        remarks: what is odd about the file, each a line.
    """

    array: Any
    pixel_nm: float | None = None
    volume: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Views, rows and columns."""
        views, rows, columns = self.array.shape
        return views, rows, columns

    def part(self, view: int, rows: slice, columns: slice) -> np.ndarray:
        """A part of a view, float64."""
        return np.asarray(self.array[view, rows, columns]).astype(np.float64)


def open_stack(path: Path) -> Stack:
    """The stack that a file or folder holds: MRC, or an array (.npy, TIFF, zarr).

    Raises:
        SourceError: it is not there, cannot be read, or is no stack.
    """
    if not path.exists():
        raise SourceError(f"stack {path}: there is no such file; correct `tilts`", "not_found")
    try:
        if path.is_file():
            _refuse_packed(path)
        stack = _open_mrc(path) if _is_mrc(path) else Stack(_open_array(path))
    except SourceError:
        raise
    except DdgmError as error:
        raise SourceError(f"stack {path}: {error}", "corrupt") from error
    if len(stack.array.shape) != 3 or min(stack.array.shape) < 1:
        shape = " x ".join(map(str, stack.array.shape))
        raise SourceError(
            f"stack {path} is {shape}; it must be views, rows, columns", "unsupported"
        )
    if np.dtype(stack.array.dtype).kind not in "iuf":
        kind = f"stack {path} holds {stack.array.dtype}, which are no grey levels"
        raise SourceError(f"{kind}; convert it to int16 or float32", "unsupported")
    return stack


def _is_mrc(path: Path) -> bool:
    if path.suffix.lower() in MRC:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(212)[208:212] == b"MAP "


def _refuse_packed(path: Path) -> None:
    with path.open("rb") as file:
        kind = PACKED.get(file.read(2))
    if kind is not None and path.suffix != ".npz":
        fault = f"stack {path} is packed by {kind}, and cannot be read in part; unpack it"
        raise SourceError(fault, "unsupported")


def _open_array(path: Path) -> Any:
    with ExitStack() as files:
        array = open_array(path, files).array
        files.pop_all()  # stays open as long as the stack is used
    return array


def _open_mrc(path: Path) -> Stack:
    """A memory map of an MRC file's pixels, whatever is broken of its header."""
    import mrcfile

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with mrcfile.open(path, permissive=True, header_only=True) as file:
                header: Any = file.header
    except (OSError, ValueError) as error:
        fault = " ".join(str(error).split())
        raise SourceError(f"stack {path}: no MRC file ({fault})", "corrupt") from error
    remarks = [" ".join(str(warning.message).split()) for warning in caught]
    if int(header.mode) not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        fault = f"stack {path}: MRC mode {int(header.mode)} is not read, but {known} are"
        raise SourceError(f"{fault}; convert it, as with IMOD's newstack -mode 2", "unsupported")
    dtype = np.dtype(DTYPES[int(header.mode)]).newbyteorder(header.mode.dtype.byteorder)
    if dtype == "i1" and not _is_signed(header):
        dtype = np.dtype("u1")
    shape = int(header.nz), int(header.ny), int(header.nx)
    start = 1024 + int(header.nsymbt)
    wanted, there = start + prod(shape) * dtype.itemsize, path.stat().st_size
    if min(shape) < 1 or int(header.nsymbt) < 0:
        raise SourceError(f"stack {path}: its header is no MRC file's; convert it", "corrupt")
    if there < wanted:
        whole = max(0, there - start) // (shape[1] * shape[2] * dtype.itemsize)
        cut = f"it is cut short: {whole} of {shape[0]} views are whole"
        raise SourceError(f"stack {path}: {cut}; copy it again", "corrupt")
    array = np.memmap(path, dtype, "r", start, shape)
    return Stack(array, _pixel_nm(header), int(header.ispg) == 1, tuple(remarks))


def _is_signed(header: Any) -> bool:
    """Whether bytes are signed: as the standard of 2014 says, unless IMOD's flags differ."""
    order = header.mode.dtype.byteorder
    stamp, flags = np.frombuffer(bytes(header.extra2)[40:48], np.dtype("i4").newbyteorder(order))
    return stamp != IMOD_STAMP or bool(flags & IMOD_SIGNED)


def _pixel_nm(header: Any) -> float | None:
    """The side of a pixel; none where it is not set, or left at 1 Å as programs do."""
    length, count = float(header.cella.x), int(header.mx)
    angstrom = length / count if count > 0 else 0.0
    return angstrom / 10 if np.isfinite(angstrom) and angstrom > 0 and angstrom != 1 else None
