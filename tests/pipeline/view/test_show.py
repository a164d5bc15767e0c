"""A run in Neuroglancer: what each panel shows, by its pixels, and what it says where it cannot."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from scipy.spatial.transform import Rotation

from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.view import browser
from ddgm.pipeline.view.browser import find_browser, picture
from ddgm.pipeline.view.server import serving
from ddgm.pipeline.view.show import viewing
from tests.pipeline.cli.words import one_line
from tests.pipeline.object_store import BUCKET, object_store
from tests.pipeline.runs import phantom_volume, run_ddgm, spec_data
from tests.pipeline.sample_volumes import serve
from tests.workers.shared import Shared

neuroglancer = pytest.importorskip("neuroglancer")
pytestmark = [pytest.mark.process, pytest.mark.server]
LAYERS = ["reconstruction", "truth", "algebraic", "sinogram", "spread", "measured"]
LOST = 5  # the block that failed
needs_chromium = pytest.mark.skipif(find_browser() is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> str:
    """A run of which five blocks are done and one failed."""
    folder = tmp_path_factory.mktemp("viewed")
    data = spec_data(phantom_volume(folder / "em"), folder / "run", tiny_prior)
    data["method"] = {"name": "ddx", "steps": 3, "samples": 2}
    data["output"] |= {"layers": LAYERS}
    spec = Spec.model_validate(data)
    for block in range(LOST):
        run_alone(spec, block)
    store = RunStore(spec.output.path)
    digest = store.manifest()["digest"]
    store.ledger.put(Record(LOST, digest, "failed", 3, cause="its chunk is not there"))
    return store.root


def seen_in(viewer: Any) -> np.ndarray:
    """All panels, as a picture shows them."""
    return np.asarray(picture(viewer, (1200, 900)).image_pixels)[..., :3].astype(float)


def shown_in(viewer: Any) -> list[list[str]]:
    """The layer of each panel, by rows."""
    return [[panel.layers[0] for panel in row.children] for row in viewer.state.layout.children]


def panels(pixels: np.ndarray, shown: list[list[str]]) -> dict[str, np.ndarray]:
    """The middle of each panel of a picture."""
    return {
        name: pixels[300 * r + 90 : 300 * r + 210, 600 * c + 150 : 600 * c + 450]
        for r, row in enumerate(shown)
        for c, name in enumerate(row)
    }


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of two panels, whose corners differ by a pixel or two."""
    height, width = one.shape
    inner = one[6 : height - 6, 6 : width - 6]
    shifts = product(range(13), repeat=2)
    moved = (other[y : height - 12 + y, x : width - 12 + x] for y, x in shifts)
    return min(float(np.abs(inner - cut).mean()) for cut in moved)


@needs_chromium
def test_each_layer_is_told_from_the_next_and_a_failed_block_is_red(root: str) -> None:
    with viewing(root) as viewer:
        with viewer.txn() as state:
            state.selected_layer.visible = False
        with browser.browsing(viewer.get_viewer_url()):
            seen = panels(whole := seen_in(viewer), shown_in(viewer))
            box = next(iter(viewer.state.layers["failed blocks"].layer.annotations))
            with viewer.txn() as state:
                state.position = (np.asarray(box.point_a) + np.asarray(box.point_b)) / 2
            failed = seen_in(viewer)
    grey = {name: pixels.mean(axis=2) for name, pixels in seen.items()}
    for name in ("reconstruction", "truth", "algebraic", "source"):
        red, _, blue = np.moveaxis(seen[name], 2, 0)
        assert np.abs(red - blue).mean() < 5, name
        assert grey[name].std() > 10, name
    assert apart(grey["truth"], grey["source"]) < 4  # the same voxels at the same place
    for one, other in combinations(("reconstruction", "truth", "algebraic"), 2):
        assert apart(grey[one], grey[other]) > 8, (one, other)
    orange, blue = (seen[name].mean(axis=(0, 1)) for name in ("spread", "measured"))
    assert orange[0] > 2 * orange[2] > 0
    assert blue[2] > 2 * blue[0] > 0

    def reds(pixels: np.ndarray) -> int:
        return int((pixels[..., 0] - pixels[..., 1:].max(axis=2) > 100).sum())

    truth = np.s_[:300, 600:]  # all of its panel
    assert reds(failed[truth]) > 20 > reds(whole[truth])


def test_the_width_lies_to_the_right_and_the_thickness_down(root: str) -> None:
    with viewing(root) as viewer:
        axes = Rotation.from_quat(viewer.state.cross_section_orientation).as_matrix().T
        shown = shown_in(viewer)
    right, down = axes[:2].round(6).tolist()
    assert (right, down) == ([0, 1, 0], [0, 0, 1])  # y and z, in Neuroglancer's order x, y, z
    assert shown == [["reconstruction", "truth"], ["algebraic", "spread"], ["measured", "source"]]


@needs_chromium
def test_a_picture_is_written(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run_ddgm(capsys, "view", root, "--screenshot", tmp_path / "run.png")
    assert status == 0, err
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_the_worst_slices_are_places_to_go_to(root: str) -> None:
    with viewing(root) as viewer:
        places = viewer.state.layers["worst slices"].layer.annotations
        worst = max(RunStore(root).ledger.records(), key=lambda r: r.block)
        assert worst.block == LOST
        assert [place.description.split(":")[0] for place in places]
        assert list(viewer.state.position) == list(places[0].point)  # the worst of them
        number = int(places[0].description.split()[1].strip(","))
        assert places[0].point[0] == number + 0.5  # the slices lie along x


def test_a_link_names_what_lies_where_all_can_read(
    root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Path(root).parent) as server:
        status, out, err = run_ddgm(capsys, "view", f"{server.address}/run", "--link")
    assert status == 0, err
    state = neuroglancer.parse_url(out.strip())
    sources = {layer.name: layer.source[0].url for layer in state.layers if layer.type == "image"}
    assert {*sources} == {*LAYERS} - {"sinogram"}  # the source is on a disk
    assert sources["truth"] == f"{server.address}/run/volume.zarr/truth/|zarr3:"


def test_a_page_is_served_until_ctrl_c(root: str) -> None:
    command = [sys.executable, "-m", "ddgm.pipeline.cli", "view", root, "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert "<html" in requests.get(url, timeout=60).text.lower()
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert out.endswith("ended\n")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(bytes(range(100)))
    (tmp_path / "secret").write_bytes(b"secret")
    with serving({"run": Folder(str(tmp_path / "below"))}) as base:
        yield f"{base}/run"


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=10-19", 10, 19),
        ("bytes=90-", 90, 99),
        ("bytes=-5", 95, 99),
        ("bytes=95-500", 95, 99),
    ],
)
def test_ranges_are_served(served: str, wanted: str, first: int, last: int) -> None:
    answer = requests.get(f"{served}/file", headers={"Range": wanted}, timeout=60)
    assert (answer.status_code, answer.content) == (206, bytes(range(first, last + 1)))
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/100"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_nothing_else_is_served(served: str) -> None:
    assert requests.get(f"{served}/file", timeout=60).content == bytes(range(100))
    assert requests.options(f"{served}/file", timeout=60).status_code == 204
    head = requests.head(f"{served}/file", timeout=60)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "100")
    token = served.split("/")[3]
    for wrong in (
        f"{served}/none",
        f"{served}/%2e%2e/secret",
        f"{served}/..%2Fsecret",
        served.replace(token, "guess") + "/file",
    ):
        assert requests.get(wrong, timeout=60).status_code == 404, wrong
    beyond = requests.get(f"{served}/file", headers={"Range": "bytes=100-"}, timeout=60)
    assert beyond.status_code == 416


def test_a_run_in_an_object_store_is_served_from_there(shared: Shared) -> None:
    with object_store(shared.client) as store:
        store.put("run/volume.zarr/truth/0/c/0", bytes(range(100)))
        with serving({"run": Folder(f"s3://{BUCKET}/run")}) as base:
            shard = f"{base}/run/volume.zarr/truth/0/c/0"
            answer = requests.get(shard, headers={"Range": "bytes=-5"}, timeout=60)
            assert (answer.status_code, answer.content) == (206, bytes(range(95, 100)))
            assert requests.get(f"{base}/run/none", timeout=60).status_code == 404
            store.faults["run/volume.zarr"] = 403
            assert requests.get(shard, timeout=60).status_code == 502


def test_what_cannot_be_shown_is_one_line(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = run_ddgm(capsys, "view", tmp_path, "--no-browser")
    assert status == 1
    assert "no run.json" in one_line(err)
    status, _, err = run_ddgm(capsys, "view", root, "--link")
    assert status == 1
    assert "copy it to http, s3 or gs" in one_line(err)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        status, _, err = run_ddgm(capsys, "view", root, "--screenshot", tmp_path / "run.png")
    assert status == 1
    assert "needs Chromium or Chrome" in one_line(err)
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    status, _, err = run_ddgm(capsys, "view", root)
    assert status == 1
    assert "pip install 'ddgm[view]'" in one_line(err)
