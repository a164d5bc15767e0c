"""Exported files as their own libraries read them, voxel by voxel; and what is refused."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mrcfile
import nrrd
import numpy as np
import pytest
import tifffile

from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.export.export import export_layer
from ddgm.pipeline.export.formats import FORMATS, Image
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.store.run_store import RunStore
from tests.pipeline.cli.test_disks import small_disk
from tests.pipeline.cli.words import one_line
from tests.pipeline.object_store import BUCKET, object_store
from tests.pipeline.runs import layer, run_ddgm, spec_data
from tests.pipeline.sample_volumes import grey, write_volume
from tests.workers.shared import Shared

SHAPE, OFFSET, SIZE = (70, 48, 10), (10, 20, 7), (20, 16, 12)  # two slabs of 32, blocks of 4, 4, 2
BRIGHT = (40, 33, 8)  # of the source's array
BRIGHT_NM = [(o + v + 0.5) * s for o, v, s in zip(OFFSET, BRIGHT, SIZE, strict=True)]
BOX, START = "15:60,25:61,9:16", (15, 25, 9)  # across all blocks, along the grid of none
Place = tuple[list[float], list[float]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Path:
    """A run whose truth is brightest in one voxel."""
    folder = tmp_path_factory.mktemp("exported")
    source = np.minimum(grey(SHAPE), 254)
    source[BRIGHT] = 255
    url = write_volume(folder / "em", source, offset=OFFSET, voxel_size_nm=SIZE)
    data = spec_data(
        url,
        folder / "run",
        tiny_prior,
        prior={"any_voxel_size": True},
        method={"name": "ddx", "steps": 1, "samples": 2},
    )
    del data["method"]["gradient_steps"]
    data["output"]["layers"] = ["reconstruction", "truth", "spread", "sinogram"]
    spec = Spec.model_validate(data)
    for block in range(make_plan(spec).block_count):
        run_alone(spec, block)
    return folder / "run"


def read(path: Path) -> tuple[np.ndarray, Place | None]:
    """Values, voxel size and first voxel's centre in nanometres (z, y, x), by the library."""
    if path.suffix == ".npy":
        return np.load(path), None
    if path.suffix == ".mrc":
        opened: Any = mrcfile.open(path)
        with opened as file:
            sides, at = (
                [float(h[a]) / 10 for a in "zyx"] for h in (file.voxel_size, file.header.origin)
            )
            return np.array(file.data), (sides, at)
    if path.suffix == ".nrrd":
        values, header = nrrd.read(str(path), index_order="C")
        directions = np.asarray(header["space directions"])
        assert np.count_nonzero(directions) == 3
        return values, (list(np.diag(directions)[::-1]), list(header["space origin"][::-1]))
    return read_tiff(path)


def read_tiff(path: Path) -> tuple[np.ndarray, Place]:
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "ZYX"
        assert file.ome_metadata
        pixels: Any = ElementTree.fromstring(file.ome_metadata).find("{*}Image/{*}Pixels")
        plane = pixels.find("{*}Plane")
        assert {pixels.get(f"PhysicalSize{a}Unit") for a in "ZYX"} == {"nm"}
        assert {plane.get(f"Position{a}Unit") for a in "ZYX"} == {"nm"}
        sides = [float(pixels.get(f"PhysicalSize{a}")) for a in "ZYX"]
        count, per = file.pages[0].tags["XResolution"].value  # type: ignore[union-attr]
        assert per / count * 1e7 == pytest.approx(sides[2])
        return file.asarray(), (sides, [float(plane.get(f"Position{a}")) for a in "ZYX"])


@pytest.mark.parametrize("box", [None, BOX], ids=["all", "box"])
@pytest.mark.parametrize("name", ["truth", "spread"])  # uint8 and float32
@pytest.mark.parametrize("form", FORMATS)
def test_a_file_holds_the_layer_voxel_by_voxel(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, name: str, box: Any
) -> None:
    path = tmp_path / f"em.{form}"
    words = ["--layer", name, "--output", path, *(["--box", box] if box else [])]
    status, out, err = run_ddgm(capsys, "export", root, *words)
    assert status == 0, err
    values, place = read(path)
    start = START if box else OFFSET
    stop = (60, 61, 16) if box else (74, 68, 17)
    inside = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, OFFSET, strict=True))
    wanted = layer(root, name)[inside]
    assert values.dtype == (np.uint16 if (form, name) == ("mrc", "truth") else wanted.dtype)
    assert np.array_equal(values, wanted)
    if place:
        sides, first = place
        assert sides == pytest.approx(SIZE)
        assert first == pytest.approx(
            [(a + 0.5) * s for a, s in zip(start, SIZE, strict=True)], rel=1e-6
        )
        assert f"{first[0]:g} {first[1]:g} {first[2]:g} nm" in out
        if name == "truth":
            (found,) = np.argwhere(values == 255)
            at = [o + i * s for o, i, s in zip(first, found, sides, strict=True)]
            assert at == pytest.approx(BRIGHT_NM, rel=1e-6)
    assert os.listdir(tmp_path) == [path.name]


def test_an_mrc_file_is_valid_and_says_what_lies_in_it(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "spread.mrc"
    export_layer(str(root), "spread", "mrc", path)
    assert mrcfile.validate(path)
    opened: Any = mrcfile.open(path)
    with opened as file:
        assert file.is_volume()
        assert [int(file.nstart[a]) for a in "zyx"] == list(OFFSET)
        found = [float(file.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
    values = layer(root, "spread").astype(float)
    assert found == pytest.approx([values.min(), values.max(), values.mean(), values.std()])


def test_a_tiff_above_4_gb_is_read_to_its_last_voxel(tmp_path: Path) -> None:
    path, shape = tmp_path / "large.tif", (500, 3000, 3000)
    one = (1.0, 1.0, 1.0)
    with FORMATS["tiff"](path, Image(shape, "uint8", one, one)) as array:  # nearly all of it a hole
        array[-1, -1, -1] = 7
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.series[0].shape == shape
        assert file.series[0].pages[-1].asarray()[-1, -1] == 7  # type: ignore[union-attr]


def test_the_file_is_named_by_layer_and_format(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_ddgm(capsys, "export", root, "--format", "npy")[0] == 0
    assert np.array_equal(np.load("reconstruction.npy"), layer(root, "reconstruction"))
    (tmp_path / "one.TIF").write_bytes(b"old")
    words = ("export", root, "--output", "one.TIF", "--box", "10:11,20:68,7:17")
    status, _, err = run_ddgm(capsys, *words)
    assert status == 1
    assert "--overwrite" in one_line(err)
    assert (tmp_path / "one.TIF").read_bytes() == b"old"
    assert run_ddgm(capsys, *words, "--overwrite")[0] == 0
    assert np.array_equal(tifffile.imread("one.TIF"), layer(root, "reconstruction")[0])


def test_what_is_not_done_is_refused_or_zero(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(root, tmp_path / "run")
    RunStore(str(run)).ledger.forget(4)  # of the lower slab, x 11:15
    path = tmp_path / "em.npy"
    words = ("export", run, "--layer", "truth", "--output", path)
    status, _, err = run_ddgm(capsys, *words)
    assert status == 1
    assert f"{32 * 48 * 4} of {64 * 48 * 10} voxels" in one_line(err)
    assert not path.exists()
    assert run_ddgm(capsys, *words, "--incomplete")[0] == 0
    wanted = layer(root, "truth").copy()
    wanted[32:, :, 4:8] = 0
    assert np.array_equal(np.load(path), wanted)
    done = ("--box", "10:42,20:68,7:17", "--overwrite")
    assert run_ddgm(capsys, *words, *done)[0] == 0
    assert np.array_equal(np.load(path), wanted[:32])


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_is_cut_off_leaves_no_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    run, folder = shutil.copytree(root, tmp_path / "run"), tmp_path / "files"
    (run / "volume.zarr/truth/0/c/1/0/2").write_bytes(b"torn")  # the last one
    folder.mkdir()
    (folder / f"em.{form}").write_bytes(b"old")
    words = ("--layer", "truth", "--output", folder / f"em.{form}", "--overwrite")
    status, _, err = run_ddgm(capsys, "export", run, *words)
    assert status == EXIT_STATUS["damage"]
    assert re.search(r"damaged .*ddgm repair", one_line(err))
    assert os.listdir(folder) == [f"em.{form}"]
    assert (folder / f"em.{form}").read_bytes() == b"old"


@pytest.mark.process
def test_an_export_that_is_stopped_leaves_no_file(root: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from ddgm.pipeline.export import export\n"
        "real = export._reserve\n"
        "def stopped(*paths):\n"
        "    real(*paths)\n"
        f"    os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
        "export._reserve = stopped\n"
        "from ddgm.pipeline.cli import main\n"
        "main()\n"
    )
    words = ["export", str(root), "--output", str(tmp_path / "em.mrc")]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=120)
    assert ended.returncode not in (0, -signal.SIGTERM)
    assert b"Traceback" not in ended.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.process
def test_a_disk_without_room_is_said_before_any_voxel_is_written(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        for form in FORMATS:  # 120 kB of float32
            path = disk / f"em.{form}"
            words = ("--layer", "spread", "--output", path)
            status, _, err = run_ddgm(capsys, "export", root, *words)
            assert status == EXIT_STATUS["storage"]
            assert f"bytes of {path}" in one_line(err)
            assert os.listdir(disk) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--layer", "sinogram", "--format", "npy"), "reconstruction, truth, spread"),
        (("--layer", "no", "--format", "npy"), "no image 'no'"),
        (("--format", "npy", "--box", "0:20,20:68,7:17"), "z 10:74, y 20:68, x 7:17"),
        (("--format", "npy", "--box", "10:74,20:20,7:17"), "--box"),
        (("--format", "npy", "--box", "10:74"), "--box"),
        ((), "--format: give one of mrc"),
        (("--output", "em.jpg"), "em.jpg does not say"),
        (("--format", "npy", "--output", "/"), "--output"),
    ],
)
def test_a_mistake_is_one_line(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run_ddgm(capsys, "export", root, *words)
    assert status == 1
    assert said in one_line(err)
    assert os.listdir(tmp_path) == []


@pytest.mark.server
def test_a_run_in_an_object_store_is_exported(root: Path, tmp_path: Path, shared: Shared) -> None:
    with object_store(shared.client) as store:
        store.upload(root, "run")
        export_layer(f"s3://{BUCKET}/run", "truth", "npy", tmp_path / "em.npy")
    assert np.array_equal(np.load(tmp_path / "em.npy"), layer(root, "truth"))


def test_a_block_is_copied_at_a_time(root: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    export_layer(
        str(root), "truth", "npy", tmp_path / "em.npy", progress=lambda *n: calls.append(n)
    )
    assert calls == list(zip(range(7), itertools.repeat(6)))
