"""Stacks of every mode and origin are opened as memory maps, and what is none is refused."""

from __future__ import annotations

import bz2
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from ddgm.pipeline.volumes.series.stack import IMOD_STAMP, open_stack
from ddgm.pipeline.volumes.volume import SourceError

DATA = np.arange(3 * 4 * 5).reshape(3, 4, 5)


def written(path: Path, dtype: str, pixel: float = 23.0) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(DATA.astype(dtype))
        file.set_image_stack()
        file.voxel_size = pixel
    return path


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "uint16", "float16"])
def test_every_mode_is_mapped_from_the_disk(tmp_path: Path, dtype: str) -> None:
    stack = open_stack(written(tmp_path / "a.st", dtype))
    assert isinstance(stack.array, np.memmap)
    assert stack.array.dtype == dtype
    assert stack.shape == (3, 4, 5)
    assert stack.pixel_nm == pytest.approx(2.3)
    assert not stack.volume
    part = stack.part(1, slice(1, 3), slice(0, 2))
    assert part.dtype == np.float64
    np.testing.assert_array_equal(part, DATA[1, 1:3, :2])


def test_bytes_of_old_imods_are_unsigned(tmp_path: Path) -> None:
    path = written(tmp_path / "a.st", "int8")
    for flags, value in ((0, 255), (1, -1)):
        data = bytearray(path.read_bytes())
        data[152:160] = np.array([IMOD_STAMP, flags], "<i4").tobytes()
        data[1024] = 255
        path.write_bytes(data)
        assert open_stack(path).part(0, slice(1), slice(1))[0, 0] == value


def test_the_other_order_of_bytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(DATA.astype(">i2"))
        file.set_image_stack()
    np.testing.assert_array_equal(open_stack(path).part(2, slice(None), slice(None)), DATA[2])


def test_a_header_without_a_map_or_stamp_is_read_and_remarked_on(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mrc", "int16")
    data = bytearray(path.read_bytes())
    data[208:216] = bytes(8)
    path.write_bytes(data)
    stack = open_stack(path)
    np.testing.assert_array_equal(stack.array, DATA)
    assert len(stack.remarks) == 2


def test_an_extended_header_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(DATA.astype("int16"))
        file.set_extended_header(np.zeros(100, "u1"))
    np.testing.assert_array_equal(open_stack(path).array, DATA)


def test_a_pixel_of_1_angstrom_is_none_that_anybody_set(tmp_path: Path) -> None:
    assert open_stack(written(tmp_path / "a.mrc", "int16", pixel=1.0)).pixel_nm is None


def test_arrays_of_other_formats_are_stacks_too(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA.astype("int16"))
    tifffile.imwrite(tmp_path / "a.tif", DATA.astype("int16"), photometric="minisblack")
    zarr.create_array(tmp_path / "a.zarr", data=DATA.astype("int16"))
    for name in ("a.npy", "a.tif", "a.zarr"):
        stack = open_stack(tmp_path / name)
        np.testing.assert_array_equal(stack.part(1, slice(1, 3), slice(2, 4)), DATA[1, 1:3, 2:4])


def test_what_is_no_stack_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.mrc", "int16").read_bytes()
    cases = {
        "short.mrc": (whole[:-50], "cut short: 1 of 3 views are whole; copy it again"),
        "head.mrc": (whole[:500], "no MRC file"),
        "text.mrc": (b"no header\n" * 200, "stack"),
        "packed.mrc": (bz2.compress(whole), "is packed by bzip2, and cannot be read in part"),
        "mode.mrc": (whole[:12] + b"\4\0\0\0" + whole[16:], "MRC mode 4 is not read, but 0, 1, 2"),
        "text.txt": (b"no array", "unknown kind"),
    }
    for name, (data, says) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError) as raised:
            open_stack(tmp_path / name)
        assert says in str(raised.value), name
        assert str(tmp_path / name) in str(raised.value)
        assert "\n" not in str(raised.value)
    np.save(tmp_path / "flat.npy", DATA[0])
    with pytest.raises(SourceError, match=r"is 4 x 5; it must be views, rows, columns"):
        open_stack(tmp_path / "flat.npy")
    with pytest.raises(SourceError, match="there is no such file"):
        open_stack(tmp_path / "none.mrc")
