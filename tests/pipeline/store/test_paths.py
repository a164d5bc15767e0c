"""Paths of a run's folder: taken as they are, and what is in the way is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.run.verify import verify_run
from ddgm.pipeline.store.files import Folder, FolderError
from ddgm.pipeline.terminal import console
from ddgm.pipeline.volumes.opening import whole_url
from tests.pipeline.runs import phantom_volume, run_ddgm, small_spec

ONE_BLOCK = {"box": {"z": [10, 42], "y": [20, 84], "x": [7, 11]}}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


def test_two_colons_are_part_of_a_local_path(tmp_path: Path, tiny_prior: Path, volume: str) -> None:
    """To fsspec and zarr they chain file systems, and `precious::try2` went to `precious`."""
    (tmp_path / "precious").mkdir()
    root = tmp_path / "precious::try2"
    run_alone(small_spec(volume, root, tiny_prior, source={"url": volume, **ONE_BLOCK}), 0)
    assert list((tmp_path / "precious").iterdir()) == []
    assert verify_run(str(root), console).problems == []


@pytest.mark.parametrize("url", ["simplecache::s3://bucket/run", "file:///data/run::try2"])
def test_two_colons_are_refused_in_a_url(url: str) -> None:
    with pytest.raises(FolderError, match=r"output\.path: .* chains file systems by `::`"):
        Folder(url).names("")


def test_what_is_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("purged/target")
    (tmp_path / "file").touch()
    for name, said in (("link", "is a link to purged/target"), ("file", "is a file; give")):
        for path in (tmp_path / name, tmp_path / name / "run"):
            with pytest.raises(FolderError, match=said) as error:
                Folder(str(path)).write("run.json", b"")
            assert "\n" not in str(error.value)


def test_a_spec_and_a_run_are_not_taken_for_each_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text("source: {url: em}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    _, _, err = run_ddgm(capsys, "status", tmp_path / "s.yaml")
    assert err == f"error: {tmp_path / 's.yaml'}: output: required, and not there\n"
    (tmp_path / "s.yaml").write_text(f"source: {{url: em}}\noutput: {{path: {tmp_path / 'no'}}}\n")
    _, _, err = run_ddgm(capsys, "status", tmp_path / "s.yaml")
    assert err == f"error: {tmp_path / 'no'}: no run.json; give the folder of a run of `ddgm run`\n"
    _, _, err = run_ddgm(capsys, "run", tmp_path / "run")
    assert err == f"error: {tmp_path / 'run'}: is a run's folder; give the path of a spec\n"


def test_overwriting_names_what_it_deletes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_prior: Path, volume: str
) -> None:
    spec = small_spec(volume, tmp_path / "run", tiny_prior, source={"url": volume, **ONE_BLOCK})
    run_alone(spec, 0)
    (tmp_path / "s.yaml").write_text(
        spec.model_copy(
            update={"tilts": spec.tilts.model_copy(update={"count": 7})}
        ).model_dump_json()
    )
    _, _, err = run_ddgm(capsys, "run", tmp_path / "s.yaml")
    assert "delete the run there (ledger, logs, run.json, volume.zarr) with --overwrite" in err


def test_relative_paths_of_a_source_are_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers may be started in another folder; a URL of elsewhere is left as it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/who")
    for url, whole in {
        "em": f"{tmp_path}/em",
        "./em/": f"{tmp_path}/em/",
        "~/em": "/home/who/em",
        "file://em": f"file://{tmp_path}/em",
        "precomputed://file://../em": f"precomputed://file://{tmp_path.parent}/em",
        "zarr2://file://em.zarr": f"zarr2://file://{tmp_path}/em.zarr",
        "zarr://em.zarr": f"zarr://{tmp_path}/em.zarr",
        "em/|neuroglancer-precomputed:": f"{tmp_path}/em/|neuroglancer-precomputed:",
        "file:///data/em": "file:///data/em",
    }.items():
        assert whole_url(url) == whole
    for url in ("gs://bucket/em", "precomputed://https://a/em", "zarr3://s3://bucket/em.zarr"):
        assert whole_url(url) == url
