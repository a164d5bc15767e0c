"""The run's folder: what is written reads back elsewhere, and what is damaged is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ome_zarr_models.v05.image import Image

from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Plan, make_plan
from ddgm.pipeline.store.arrays import StoreError
from ddgm.pipeline.store.files import FolderError
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import VolumeInfo
from tests.pipeline.runs import layer, small_spec

END = "2026-01-01T00:00:00+00:00"
INFO = VolumeInfo(Box((10, 20, 7), (74, 157, 23)), (8.0, 16.0, 4.0), "uint8", (32, 32, 16), 1, 0)


@pytest.fixture
def store(tmp_path: Path) -> tuple[RunStore, Plan]:
    spec = small_spec("a", tmp_path / "run", Path("w"), block={"slices": 12})
    plan = make_plan(spec, INFO)
    store = RunStore(str(tmp_path / "run"))
    assert not store.prepare(plan, {"digest": "d", "spec": {}})
    return store, plan


def block_data(plan: Plan, index: int, fill: int | None = None) -> dict[Layer, np.ndarray]:
    rng, block = np.random.default_rng(index), plan.block(index)
    data: dict[Layer, np.ndarray] = {}
    for name in plan.spec.output.layers:
        shape = tuple(s.stop - s.start for s in layout_of(plan, name).index(block))
        dtype = "float32" if name == "sinogram" else "uint8"
        data[name] = rng.integers(0, 200, shape).astype(dtype)
        if fill is not None:
            data[name][:] = fill
    return data


def test_another_zarr_reader_reads_what_was_written(store: tuple[RunStore, Plan]) -> None:
    run, plan = store
    whole = {n: np.zeros(layout_of(plan, n).shape) for n in plan.spec.output.layers}
    for block in plan.blocks():
        data = block_data(plan, block.index)
        run.write(plan, block, data)
        for name, values in data.items():
            whole[name][layout_of(plan, name).index(block)] = values
    for name, values in whole.items():
        np.testing.assert_array_equal(layer(Path(run.root), name), values)


def test_images_are_ome_zarr_that_lies_on_its_source(store: tuple[RunStore, Plan]) -> None:
    import zarr

    run, _ = store
    group = zarr.open_group(f"{run.root}/volume.zarr/reconstruction", mode="r")
    multiscale = Image.from_zarr(group).attributes.ome.multiscales[0]
    assert [axis.name for axis in multiscale.axes] == ["z", "y", "x"]
    found = [t.model_dump() for t in multiscale.datasets[0].coordinateTransformations]
    assert found[0]["scale"] == [8.0, 16.0, 4.0]
    assert found[1]["translation"] == [10.5 * 8.0, 20.5 * 16.0, 7.5 * 4.0]


def test_a_block_of_zeros_is_stored_like_any_other(store: tuple[RunStore, Plan]) -> None:
    run, plan = store
    block = plan.block(0)
    run.write(plan, block, block_data(plan, 0, fill=0))
    assert not run.arrays.read(plan, "reconstruction", block).any()  # a missing one raises


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "flipped"])
def test_damage_is_an_error_and_can_be_written_over(
    store: tuple[RunStore, Plan], damage: str
) -> None:
    run, plan = store
    block, data = plan.block(1), block_data(plan, 1)  # a short one, at the array's edge
    run.write(plan, block, data)
    path = Path(run.root) / "volume.zarr/reconstruction/0/c/0/0/1"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 3] ^= 4
        keep = {"empty": 0, "truncated": len(content) // 2, "flipped": len(content)}[damage]
        path.write_bytes(content[:keep])
    with pytest.raises(StoreError, match=r"reconstruction/0/c/0/0/1"):
        run.arrays.read(plan, "reconstruction", block)
    run.write(plan, block, data)
    np.testing.assert_array_equal(
        run.arrays.read(plan, "reconstruction", block), data["reconstruction"]
    )


def test_an_output_is_resumed_refused_or_replaced(store: tuple[RunStore, Plan]) -> None:
    run, plan = store
    run.ledger.put(Record(0, "d", "done"))
    assert run.prepare(plan, {"digest": "d", "spec": {}})
    assert run.ledger.record(0) is not None
    with pytest.raises(StoreError, match="belongs to another spec"):
        run.prepare(plan, {"digest": "e", "spec": {}})
    assert run.ledger.record(0) is not None
    assert not run.prepare(plan, {"digest": "e", "spec": {}}, overwrite=True)
    assert run.ledger.record(0) is None


def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    spec = small_spec("a", tmp_path, Path("w"))
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="no part of a run"):
            RunStore(str(tmp_path)).prepare(
                make_plan(spec, INFO), {"digest": "d", "spec": {}}, overwrite=overwrite
            )
    assert (tmp_path / "thesis.txt").read_text() == "ten years"


def test_a_run_killed_while_it_was_created_can_be_started_again(
    store: tuple[RunStore, Plan],
) -> None:
    run, plan = store
    (Path(run.root) / "run.json").unlink()  # it is written last
    assert not run.prepare(plan, {"digest": "d", "spec": {}})
    run.write(plan, plan.block(0), block_data(plan, 0))


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name",
    ["logs/train-2024.log", "slurm/job.sh", "ledger", "ledger/000/000000.json", "report.html",
     "metrics.parquet", "preview.png", "state.json", "driver.json", "volume.zarr",
     "volume.zarr/truth/0/c/0/0/0", "volume.zarr/.zgroup"],
)  # fmt: skip
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_lies_under_a_name_of_ours_without_a_run_is_kept(
    tmp_path: Path, name: str, overwrite: bool
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("ten years")
    plan = make_plan(small_spec("a", tmp_path, Path("w")), INFO)
    with pytest.raises(StoreError, match=f"holds '{name.split('/')[0]}' and no run.json"):
        RunStore(str(tmp_path)).prepare(plan, {"digest": "d", "spec": {}}, overwrite)
    assert files(tmp_path) == {name: b"ten years"}


def test_a_run_without_its_run_json_is_begun_anew_only_where_that_is_said(
    store: tuple[RunStore, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    run, plan = store
    run.write(plan, plan.block(0), block_data(plan, 0))
    run.ledger.put(Record(0, "d", "done"))
    (Path(run.root) / "run.json").unlink()
    before = files(Path(run.root))
    with pytest.raises(StoreError, match=r"'ledger', and its run\.json is gone; --overwrite"):
        run.prepare(plan, {"digest": "d", "spec": {}})
    assert files(Path(run.root)) == before
    assert not run.prepare(plan, {"digest": "d", "spec": {}}, overwrite=True)
    assert run.ledger.record(0) is None
    assert "removing from" in (said := " ".join(capsys.readouterr().out.split()))
    assert said.endswith("ledger, volume.zarr")


def test_overwrite_leaves_a_run_json_that_ddgm_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "logs").mkdir()
    plan = make_plan(small_spec("a", tmp_path, Path("w")), INFO)
    with pytest.raises(StoreError, match="not one that ddgm wrote"):
        RunStore(str(tmp_path)).prepare(plan, {"digest": "d", "spec": {}}, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["logs", "run.json"]


def test_what_a_creation_that_was_killed_leaves_stops_nobody(
    store: tuple[RunStore, Plan],
) -> None:
    run, plan = store
    root = Path(run.root)
    (root / "run.json").rename(root / f"run.json.{'0' * 32}.partial")
    zarr_json = root / "volume.zarr/truth/zarr.json"
    zarr_json.rename(f"{zarr_json}.{'1' * 32}.partial")
    (root / "driver.json").write_bytes(b"")  # killed between its name and its contents
    assert not run.prepare(plan, {"digest": "d", "spec": {}})
    assert not list(root.rglob("*.partial"))


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


WRONG: dict[str, Callable[[Path], object]] = {
    "zarr.json": Path.unlink,
    "truth/zarr.json": Path.unlink,
    "truth/0/zarr.json": Path.unlink,
    "reconstruction/zarr.json": lambda path: edited(path, "8.0", "1.0"),
    "reconstruction/0/zarr.json": lambda path: edited(path, "uint8", "int8"),
    "sinogram/0/zarr.json": lambda path: path.write_bytes(b"\x00garbage"),
}


@pytest.mark.parametrize("name", WRONG)
def test_metadata_that_are_not_as_the_plan_gives_are_named_and_written_again(
    store: tuple[RunStore, Plan], name: str
) -> None:
    run, plan = store
    run.write(plan, plan.block(0), block_data(plan, 0))
    run.ledger.put(Record(0, "d", "done"))
    before = files(Path(run.root))
    assert run.arrays.wrong_metadata(plan) == {}
    WRONG[name](Path(run.root) / "volume.zarr" / name)
    assert list(run.arrays.wrong_metadata(plan)) == [f"volume.zarr/{name}"]
    assert run.prepare(plan, {"digest": "d", "spec": {}})
    assert files(Path(run.root)) == before


def test_a_block_is_kept_where_its_array_cannot_be_opened(store: tuple[RunStore, Plan]) -> None:
    run, plan = store
    run.write(plan, plan.block(0), block_data(plan, 0))
    run.ledger.put(Record(0, "d", "done"))
    (Path(run.root) / "volume.zarr/truth/0/zarr.json").unlink()
    before = files(Path(run.root))
    with pytest.raises(FileNotFoundError):
        run.write(plan, plan.block(0), block_data(plan, 0))
    assert files(Path(run.root)) == before


def test_somebody_elses_run_json_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    spec = small_spec("a", tmp_path, Path("w"))
    with pytest.raises(StoreError, match="not one that ddgm wrote"):
        RunStore(str(tmp_path)).prepare(make_plan(spec, INFO), {"digest": "d", "spec": {}})


def test_a_block_that_is_being_written_again_is_not_done(store: tuple[RunStore, Plan]) -> None:
    run, plan = store
    run.ledger.put(Record(0, "d", "done"))
    data = block_data(plan, 0)
    data["truth"] = data["truth"][:1]  # zarr refuses it in the middle of writing
    with pytest.raises(ValueError, match="shape"):
        run.write(plan, plan.block(0), data)
    assert run.ledger.record(0) is None


def test_a_torn_record_counts_as_none(store: tuple[RunStore, Plan]) -> None:
    run, _ = store
    run.ledger.put(Record(3, "d", "done"))
    (Path(run.root) / "ledger/000/000003.json").write_bytes(b"")
    assert run.ledger.record(3) is None
    assert list(run.ledger.records()) == []


@pytest.mark.parametrize("root", ["nonesuch://run", "FILE"])
def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path, root: str) -> None:
    if root == "FILE":
        root = str(tmp_path / "file")
        Path(root).write_text("")
    with pytest.raises(FolderError, match=r"output\.path"):
        RunStore(root).manifest()


def test_records_come_back_as_they_were(store: tuple[RunStore, Plan]) -> None:
    run, _ = store
    records = [
        Record(1, "d", "done", 2, {"truth": "00"}, 5, [{"mse": 0.5}], {"fetch": 1.0}, "w", END),
        # the second slice is constant: it has no seam energy
        Record(2, "d", "done", metrics=[{"slice": 7, "mse": 1.0, "seam": 1.0}, {"slice": 8}]),
        Record(2345, "d", "failed", cause="why", detail="where"),
    ]
    for record in records:
        run.ledger.put(record)
    assert list(run.ledger.records()) == records
    run.ledger.forget(1)
    assert list(run.ledger.records()) == records[1:]


def test_a_store_works_on_any_url_that_fsspec_writes(tmp_path: Path) -> None:
    spec = small_spec("a", f"file://{tmp_path}/run", Path("w"))
    plan, run = make_plan(spec, INFO), RunStore(spec.output.path)
    run.prepare(plan, {"digest": "d", "spec": {}})
    block, data = plan.block(0), block_data(plan, 0)
    run.write(plan, block, data)
    np.testing.assert_array_equal(run.arrays.read(plan, "truth", block), data["truth"])
    assert (tmp_path / "run/volume.zarr/truth/0/c/0/0/0").is_file()
