"""Cases from public bug reports of related projects that ddgm has to keep right.

docs/results/field.md names the reports and the tests of all of them; here are those that had none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from ddgm.core.errors import DdgmError
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.run.verify import verify_run
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.store.arrays import metadata
from ddgm.pipeline.store.ome import ome_attributes
from ddgm.pipeline.terminal import console
from ddgm.pipeline.volumes.opening import open_volume
from tests.pipeline.runs import layer, phantom_volume, run_ddgm, small_spec, spec_data
from tests.pipeline.sample_volumes import grey, write_volume

SHAPE = (40, 37, 8)
QUICK: dict[str, dict[str, Any]] = {
    "method": {"steps": 1, "gradient_steps": 1},
    "algebraic": {"gradient_steps": 1},
    "block": {"slices": 8, "batch": 8},
}


def whole(weights: Path, url: str, root: Path, **parts: dict[str, Any]) -> np.ndarray:
    """The layer `truth` after one block, which is all of the box; verified."""
    spec = small_spec(url, root, weights, **{**QUICK, **parts})
    run_alone(spec, 0)
    assert verify_run(str(root), console).problems == []
    return layer(root, "truth")


@pytest.mark.parametrize(
    ("offset", "chunk"),
    [((-64, -3, -5), (16, 16, 16)), ((7, 13, 101), (33, 40, 5)), ((0, 0, 0), (64, 64, 64))],
    ids=["negative", "odd", "larger chunks"],
)
def test_offsets_and_chunks_of_any_kind(
    tmp_path: Path, tiny_prior: Path, offset: Any, chunk: Any
) -> None:
    data = neuropil(SHAPE, seed=1)
    options: Any = {"offset": offset, "chunk": chunk, "voxel_size_nm": (16, 16, 16)}
    url = write_volume(tmp_path / "em", data, **options)
    slab = {"slab": {"thickness": 40}}
    assert np.array_equal(whole(tiny_prior, url, tmp_path / "run", **slab), data)
    truth = json.loads((tmp_path / "run/volume.zarr/truth/zarr.json").read_text())
    _, shift = truth["attributes"]["ome"]["multiscales"][0]["datasets"][0][
        "coordinateTransformations"
    ]
    assert shift["translation"] == [(start + 0.5) * 16 for start in offset]


def test_fractional_voxel_sizes_are_kept_exactly(tmp_path: Path, tiny_prior: Path) -> None:
    size: Any = (25, 9.8, 9.8)
    url = write_volume(tmp_path / "em", grey(SHAPE), voxel_size_nm=size)
    plan = make_plan(small_spec(url, tmp_path / "run", tiny_prior))
    assert plan.info.voxel_size_nm == size
    (image,) = ome_attributes(plan, "truth")["ome"]["multiscales"]
    scale, shift = image["datasets"][0]["coordinateTransformations"]
    assert (scale["scale"], shift["translation"]) == ([25, 9.8, 9.8], [12.5, 4.9, 4.9])


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_sharded_volumes_of_another_writer(tmp_path: Path, encoding: str) -> None:
    data = grey(SHAPE)
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 1, "minishard_bits": 1,
        "shard_bits": 1, "hash": "identity", "data_encoding": encoding,
        "minishard_index_encoding": encoding,
    }  # fmt: skip
    scale = {
        "size": SHAPE[::-1], "encoding": "raw", "chunk_size": [4, 16, 16],
        "resolution": [8, 8, 8], "voxel_offset": [3, 2, 1], "sharding": sharding,
    }  # fmt: skip
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(tmp_path / "em")},
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
        "scale_metadata": scale,
    }
    written = tensorstore.open(spec, create=True).result()
    written.write(data.T[..., None]).result()
    volume = open_volume(f"file://{tmp_path / 'em'}")
    assert np.array_equal(volume.read(volume.info.bounds).data, data)
    assert volume.info.bounds.start == (1, 2, 3)


def without_offset(info: dict[str, Any]) -> None:
    del info["scales"][0]["voxel_offset"]


def with_type(info: dict[str, Any]) -> None:
    info["@type"] = "neuroglancer_multiscale_volume"


def with_null_sharding(info: dict[str, Any]) -> None:
    info["scales"][0]["sharding"] = None


def with_two_chunk_sizes(info: dict[str, Any]) -> None:
    info["scales"][0]["chunk_sizes"].append([8, 8, 8])


@pytest.mark.parametrize(
    "change", [without_offset, with_type, with_null_sharding, with_two_chunk_sizes]
)
def test_info_files_as_others_write_them(tmp_path: Path, change: Any) -> None:
    url, path = write_volume(tmp_path / "em", grey(SHAPE)), tmp_path / "em/info"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))
    volume = open_volume(url)
    assert np.array_equal(volume.read(volume.info.bounds).data, grey(SHAPE))


def test_metadata_are_not_consolidated(tmp_path: Path, tiny_prior: Path) -> None:
    url = phantom_volume(tmp_path / "em")
    files = metadata(make_plan(small_spec(url, tmp_path / "run", tiny_prior)))
    assert files
    assert not any(json.loads(data).get("consolidated_metadata") for data in files.values())


@pytest.mark.parametrize("name", ["a b", "ü 束", "a#b%20c?d:e", "*[x]", 'it\'s "-"', "-&;$x"])
def test_odd_paths(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, name: str
) -> None:
    data = neuropil(SHAPE, seed=1)
    url = write_volume(tmp_path / name / "em", data, voxel_size_nm=(16, 16, 16))
    root, slab = tmp_path / name / "run", {"slab": {"thickness": 40}}
    assert np.array_equal(whole(tiny_prior, url, root, **slab), data)
    assert run_ddgm(capsys, "status", root)[0] == 0


@pytest.mark.parametrize("path", ["run", "run/", "./run", "~/run", "~/../{home}/run"])
def test_paths_as_people_write_them(
    tmp_path: Path, tiny_prior: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_volume(tmp_path / "em", neuropil(SHAPE, seed=1), voxel_size_nm=(16, 16, 16))
    path = path.format(home=tmp_path.name)
    spec = small_spec("em/", path, tiny_prior, slab={"thickness": 40}, **QUICK)
    run_alone(spec, 0)
    assert (tmp_path / "run/run.json").is_file()


@pytest.mark.parametrize("tiling", ["tiles", "rows"])
@pytest.mark.parametrize(("thickness", "width"), [(11, 37), (12, 11), (33, 29), (40, 36)])
def test_sizes_that_a_u_net_refuses(
    tmp_path: Path, tiny_prior: Path, thickness: int, width: int, tiling: str
) -> None:
    data = neuropil(SHAPE, seed=1)
    url = write_volume(tmp_path / "em", data, voxel_size_nm=(16, 16, 16))
    parts: dict[str, Any] = {
        "source": {"url": url, "box": {"z": [0, thickness], "y": [0, width], "x": [0, 8]}},
        "slab": {"thickness": thickness},
        "prior": {"weights": str(tiny_prior), "stride": 24, "batch": 8, "tiling": tiling},
    }
    truth = whole(tiny_prior, url, tmp_path / "run", **parts)
    assert np.array_equal(truth, data[:thickness, :width])


@pytest.mark.parametrize("detector", ["lateral", "perpendicular"])
@pytest.mark.parametrize(("count", "ends"), [(5, (-60, 40)), (3, (10, 20)), (2, (-5, 5))])
def test_tilts_that_are_not_from_minus_60_to_60(
    tmp_path: Path, tiny_prior: Path, count: int, ends: Any, detector: str
) -> None:
    data = neuropil(SHAPE, seed=1)
    url = write_volume(tmp_path / "em", data, voxel_size_nm=(16, 16, 16))
    tilts = {"count": count, "range": list(ends), "detector": detector}
    parts = {"slab": {"thickness": 40}, "tilts": tilts}
    assert np.array_equal(whole(tiny_prior, url, tmp_path / "run", **parts), data)


@pytest.mark.parametrize("ends", [(-90, 90), (60, -60), (0, 0)], ids=str)
def test_tilts_that_cannot_be_are_refused(tmp_path: Path, ends: Any) -> None:
    data = spec_data("em", tmp_path / "run", Path("small"), tilts={"range": list(ends)})
    (tmp_path / "s.yaml").write_text(json.dumps(data))
    with pytest.raises(DdgmError, match=r"tilts\.range: .* must rise and lie within -85 and 85"):
        load_spec(tmp_path / "s.yaml")


@pytest.mark.parametrize("axes", ["zyx", "yxz", "xzy"])
def test_one_slice_and_blocks_larger_than_the_box(
    tmp_path: Path, tiny_prior: Path, axes: str
) -> None:
    data = neuropil((40, 37, 33), seed=1)
    url = write_volume(tmp_path / "em", data, voxel_size_nm=(16, 16, 16))
    box = {axis: [0, 33] for axis in "zyx"} | {axes[2]: [5, 6]}
    parts: dict[str, Any] = {
        "source": {"url": url, "box": box},
        "slab": {"thickness_axis": axes[0], "width_axis": axes[1], "tilt_axis": axes[2]},
    }
    parts["slab"]["thickness"] = 33
    index = tuple(slice(*box[axis]) for axis in "zyx")
    assert np.array_equal(whole(tiny_prior, url, tmp_path / "run", **parts), data[index])


def test_a_spec_of_a_windows_editor(tmp_path: Path) -> None:
    text, path = "source: {url: em}\r\noutput:\r\n  path: run\r\n", tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_spec(path).output.path == "run"
    for wrong in (text.encode("utf-16"), b"source:\n\turl: em\n", b"source: {url: a, url: b}\n"):
        path.write_bytes(wrong)
        with pytest.raises(DdgmError) as error:
            load_spec(path)
        assert "\n" not in str(error.value)


@pytest.mark.process
def test_thread_variables_optimised_python_and_a_strict_umask(
    tmp_path: Path, tiny_prior: Path
) -> None:
    url = write_volume(tmp_path / "em", neuropil(SHAPE, seed=1), voxel_size_nm=(16, 16, 16))
    data = spec_data(url, tmp_path / "run", tiny_prior, slab={"thickness": 40}, **QUICK)
    (tmp_path / "s.yaml").write_text(json.dumps(data))
    words = ["-OO", "-m", "ddgm.pipeline.cli", "block", str(tmp_path / "s.yaml"), "--id", "0"]
    many = {**os.environ, "OMP_NUM_THREADS": "64", "MKL_NUM_THREADS": "64"}
    done = subprocess.run(
        [sys.executable, *words], env=many, umask=0o077, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert verify_run(str(tmp_path / "run"), console).problems == []
