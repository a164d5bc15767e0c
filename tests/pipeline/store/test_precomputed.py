"""The precomputed copy: cloud-volume alone reads it, and no half of one looks whole."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
from cloudvolume import CloudVolume
from cloudvolume.exceptions import InfoUnavailableError

from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.run.runner import run, run_alone
from ddgm.pipeline.run.verify import verify_run
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.yaml_file import dump_spec
from ddgm.pipeline.store import precomputed
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.manifest import levels_of, plan_of
from ddgm.pipeline.store.precomputed import Precomputed
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.terminal import console
from tests.pipeline.cli.words import one_line
from tests.pipeline.object_store import BUCKET, object_store
from tests.pipeline.runs import layer, phantom_volume, run_ddgm, spec_data
from tests.workers.shared import Shared

pytestmark = pytest.mark.process
SHAPE, OFFSET = (64, 131, 10), (10, 20, 7)
SIZES: dict[str, Any] = {"uint8": (20, 16, 9.8), "float32": (16, 16, 16)}
BLOCKS = 4
READ = """
import sys
import numpy as np
from cloudvolume import CloudVolume
url, file = sys.argv[1:]
found = {}
for mip in CloudVolume(url).available_mips:
    volume = CloudVolume(url, mip=mip, progress=False)
    found[f"values{mip}"] = np.asarray(volume[:])[..., 0].T
    found[f"offset{mip}"] = volume.voxel_offset[::-1]
    found[f"size{mip}"] = volume.resolution[::-1]
assert not [name for name in sys.modules if name.startswith("ddgm")]
np.savez(file, **found)
"""


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    """So that a small volume has many: shards of four chunks of 16³ voxels in uint8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precomputed, "SHARD_BYTES", 2**14)
        yield


def spec_of(root: Path, url: str, prior: Path, dtype: str = "uint8") -> Spec:
    """Four blocks."""
    data = spec_data(url, root, prior, prior={"any_voxel_size": True})
    data["method"] |= {"steps": 1, "gradient_steps": 1}
    data["output"] |= {"layers": ["reconstruction"], "dtype": dtype, "also": "precomputed"}
    data["block"] = {"slices": 8, "batch": 8}
    return Spec.model_validate(data)


@pytest.fixture(scope="module", params=list(SIZES))
def copied(
    tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path, request: pytest.FixtureRequest
) -> Path:
    """A run that is done, with its copy; in uint8 or float32."""
    folder = tmp_path_factory.mktemp("copied")
    url = phantom_volume(folder / "em", SHAPE, offset=OFFSET, voxel_size_nm=SIZES[request.param])
    spec = spec_of(folder / "run", url, tiny_prior, request.param)
    for block in range(BLOCKS):
        run_alone(spec, block)
    assert run(spec, lambda event: None).resumed == BLOCKS
    return folder / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Spec:
    """A run in uint8 that is done, without its copy."""
    folder = tmp_path_factory.mktemp("whole")
    url = phantom_volume(folder / "em", SHAPE, offset=OFFSET, voxel_size_nm=SIZES["uint8"])
    spec = spec_of(folder / "run", url, tiny_prior)
    for block in range(BLOCKS):
        run_alone(spec, block)
    return spec


@pytest.fixture
def spec(whole: Spec, tmp_path: Path, tiny_prior: Path) -> Spec:
    """Of a copy of that run."""
    root = shutil.copytree(whole.output.path, tmp_path / "run")
    return spec_of(root, whole.source.place, tiny_prior)


def copy_of(root: Path | str) -> Precomputed:
    store = RunStore(str(root))
    manifest = store.manifest()
    return Precomputed(store, plan_of(manifest), levels_of(manifest))


def files(root: Path) -> dict[str, bytes]:
    found = sorted(path for path in (root / "precomputed").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_cloud_volume_alone_reads_all_levels_voxel_by_voxel(copied: Path, tmp_path: Path) -> None:
    url, file = f"precomputed://file://{copied}/precomputed", tmp_path / "read.npz"
    subprocess.run([sys.executable, "-c", READ, url, str(file)], check=True, cwd=tmp_path)
    found = np.load(file)
    count = len(copy_of(copied).levels)
    assert len(found.files) == 3 * count > 6
    size = SIZES[layer(copied, "reconstruction").dtype.name]
    for mip in range(count):
        values = layer(copied, "reconstruction", mip)
        assert found[f"values{mip}"].dtype == values.dtype
        np.testing.assert_array_equal(found[f"values{mip}"], values)
        sides = found[f"size{mip}"]
        factor = np.rint(sides / size)
        assert sides == pytest.approx(factor * size)
        # a level begins at a whole voxel, of all that there are the nearest
        assert np.abs(found[f"offset{mip}"] * factor - OFFSET).max() <= factor.max() / 2
        assert list(-(-np.array(SHAPE) // factor)) == list(values.shape)
    assert list(found["offset0"]) == list(OFFSET)


def test_another_reader_has_the_same_voxels(copied: Path) -> None:
    for level in copy_of(copied).levels:
        kvstore = {"driver": "file", "path": f"{copied}/precomputed/"}
        spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore}
        array = tensorstore.open(spec | {"scale_index": level.number}).result()
        values = array[..., 0].read().result().T
        np.testing.assert_array_equal(values, layer(copied, "reconstruction", level.number))


def test_the_bytes_are_the_same_in_any_order(copied: Path, tmp_path: Path) -> None:
    root = shutil.copytree(copied, tmp_path / "run")
    shutil.rmtree(root / "precomputed")
    copy = copy_of(root)
    pieces = list(copy.pieces())
    assert len(pieces) > 2 * len(copy.levels)
    for piece in random.Random(3).sample(pieces, len(pieces)):
        copy._write(piece)
    for _ in copy.make():
        pass
    assert files(root) == files(copied)


def test_what_is_half_made_opens_nowhere_and_is_gone_on_with(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, write = Path(spec.output.path), Folder.write
    written: list[str] = []

    def failing(place: Folder, name: str, data: bytes) -> None:
        if name.startswith("precomputed/"):
            if len(written) == 5:
                raise KeyboardInterrupt
            written.append(name)
        write(place, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(precomputed, "THREADS", 1)
        patch.setattr(Folder, "write", failing)
        with pytest.raises(KeyboardInterrupt):
            run(spec, lambda event: None)
    half = files(root)
    assert list(half) == sorted(written)
    with pytest.raises(InfoUnavailableError):
        CloudVolume(f"file://{root}/precomputed")
    (problem,) = verify_run(str(root), console).problems
    assert problem.startswith("precomputed/info: not there")
    partial = root / Path(written[0]).with_name(f"3.shard.{'0' * 32}.partial")
    partial.write_bytes(b"torn")
    there = {name: (root / name).stat().st_mtime_ns for name in half}
    run(spec, lambda event: None)
    assert {name: (root / name).stat().st_mtime_ns for name in half} == there
    assert not partial.exists()
    assert verify_run(str(root), console).problems == []
    volume: Any = CloudVolume(f"file://{root}/precomputed", progress=False)
    values = np.asarray(volume[:])[..., 0].T
    np.testing.assert_array_equal(values, layer(root, "reconstruction"))


def test_a_run_that_is_done_is_copied_when_its_spec_asks_for_it(
    capsys: pytest.CaptureFixture[str], spec: Spec, tmp_path: Path
) -> None:
    store = RunStore(spec.output.path)
    manifest = store.manifest()
    manifest["spec"]["output"]["also"] = None  # as if it had been run without
    store.write_manifest(manifest)
    assert verify_run(store.root, console).problems == []
    (tmp_path / "spec.yaml").write_text(dump_spec(spec))
    status, out, err = run_ddgm(capsys, "run", tmp_path / "spec.yaml")
    assert status == 0, err
    assert copy_of(store.root).is_complete
    status, out, _ = run_ddgm(capsys, "verify", store.root)
    assert status == 0
    assert "as volume.zarr has it: " in out


def test_damage_is_found_and_mended(
    capsys: pytest.CaptureFixture[str], copied: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(copied, tmp_path / "run")
    first, *_, last = [root / piece.name for piece in copy_of(root).pieces()]
    data = first.read_bytes()
    first.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    last.unlink()
    status, out, err = run_ddgm(capsys, "verify", root)
    assert status == EXIT_STATUS["damage"]
    assert f"{first.relative_to(root)}: not what volume.zarr holds" in out
    assert f"{last.relative_to(root)}: not there" in out
    assert "2 of" in one_line(err)
    status, out, err = run_ddgm(capsys, "repair", root)
    assert (status, err) == (0, "")
    assert "2 files of the precomputed copy" in " ".join(out.split())
    assert files(root) == files(copied)
    (root / "precomputed/info").unlink()
    assert run_ddgm(capsys, "verify", root)[0] == EXIT_STATUS["damage"]
    assert run_ddgm(capsys, "repair", root)[0] == 0
    assert files(root) == files(copied)


def test_nothing_is_copied_of_what_is_damaged(spec: Spec) -> None:
    root = Path(spec.output.path)
    shard = root / "volume.zarr/reconstruction/1/c/0/0/0"
    good = shard.read_bytes()
    for bad, said in ((good[:50] + bytes([good[50] ^ 1]) + good[51:], "damaged"), (b"", "empty")):
        shard.write_bytes(bad)
        with pytest.raises(precomputed.StoreError, match=rf"{said}.*ddgm repair"):
            list(copy_of(root).make())
        assert not (root / "precomputed/info").exists()


@pytest.mark.cluster
def test_a_block_that_is_done_again_is_copied_again(
    capsys: pytest.CaptureFixture[str], spec: Spec
) -> None:
    root = Path(spec.output.path)
    run(spec, lambda event: None)
    before = files(root)
    (root / "volume.zarr/reconstruction/0/c/0/0/0").write_bytes(b"torn")
    status, out, err = run_ddgm(capsys, "repair", root)
    assert (status, err) == (0, "")
    assert "1 block mended" in " ".join(out.split())
    assert files(root) == before
    assert verify_run(str(root), console).problems == []


@pytest.mark.server
def test_a_run_in_an_object_store_is_copied_there(
    spec: Spec, tmp_path: Path, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precomputed, "SHARD_BYTES", 2**20)  # one a level
    root = Path(spec.output.path)
    with object_store(shared.client) as store:
        store.upload(root, "copied")
        copy = copy_of(f"s3://{BUCKET}/copied")
        for _ in copy.make():
            pass
        assert [fault for piece in copy.pieces() if (fault := copy.fault(piece))] == []
        found = files(store.download("copied", tmp_path / "found"))
    for _ in copy_of(root).make():
        pass
    assert found == files(root)
