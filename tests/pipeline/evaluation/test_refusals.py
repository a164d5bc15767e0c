"""`ddgm benchmark` and `ddgm tune` refuse nonsense in one line, before they write anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddgm.pipeline.errors import EXIT_STATUS
from ddgm.pipeline.evaluation.comparison_request import BenchmarkError, ComparisonRequest
from ddgm.pipeline.volumes.array import opened
from ddgm.pipeline.volumes.volume import SourceError
from tests.pipeline.runs import phantom_volume, run_ddgm


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "ddgm-50,magic"], "method: 'magic' is none; choose of fbp, cgls"),
        (
            ["--methods", "ddgm:gradient_steps=2.5"],
            "ddgm: gradient_steps: 2.5 must be a whole",
        ),
        (["--methods", "ddgm:count=0"], "method: ddgm: gradient_steps: 0 must be at least 1"),
        (["--methods", "ddx-0"], "method: 'ddx-0' is none; choose of fbp, cgls"),
        (["--methods", "ddx:rho=-1"], "method: ddx: rho: -1.0 must be above 0"),
        (["--methods", "cgls:rho=1"], "cgls has no number 'rho'; it has gradient_steps"),
        (["--methods", "ddx:sigma=2..0.001"], "noise levels from 2 to 0.001; prior "),
        (["--patches", "0"], "--patches: 0; give at least 1"),
        (["--prior", "nobody"], "'nobody' is neither a shipped prior"),
        (["--box", "0:8,0:8"], "--box: '0:8,0:8' must be z0:z1,y0:y1,x0:x1"),
        (["--prior", "small"], "holds no patch of 128 x 128"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    status, _, error = run_ddgm(capsys, "benchmark", url, "--out", tmp_path / "out", *words)
    assert status == 1
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ddx", "--grid", "rho"], "--grid: 'rho' must be PARAMETER=VALUE,VALUE,…"),
        (["ddx", "--grid", "zeta=1,2"], "ddx has no number 'zeta'; it has steps, sigma"),
        (["magic", "--grid", "rho=1,2"], "method: 'magic' is none"),
        (["ddx", "--grid", "rho=1", "--workers", "0"], "--workers: 0; give at least 1"),
        (["ddx", "--grid", "rho=1", "--scheduler", "gone.json"], "no scheduler file gone.json"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused_in_one_line(
    url: str,
    tmp_path: Path,
    tiny_prior: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    common = ["--prior", tiny_prior, "--patches", 2, "--out", tmp_path / "out"]
    status, _, error = run_ddgm(capsys, "tune", url, *words, *common)
    assert status == EXIT_STATUS["cluster" if "--scheduler" in words else "mistake"]
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (None, "there is no such file"),
        (np.zeros((4, 4), np.uint8), "is 4 x 4; it must be z, y, x"),
        (b"not an array", "cannot be read"),
    ],
)
def test_an_array_that_cannot_be_used_is_said(
    tmp_path: Path, array: np.ndarray | bytes | None, said: str
) -> None:
    path = tmp_path / "em.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(SourceError, match=said):
        opened(str(path))


def test_patches_of_unequal_sides_are_refused(tmp_path: Path, tiny_prior: Path) -> None:
    deep = phantom_volume(tmp_path / "em", voxel_size_nm=(40, 4, 4))
    request = ComparisonRequest(deep, patches=3, prior=str(tiny_prior))
    with pytest.raises(BenchmarkError, match=r"voxels of 40 x 4 x 4 nm; .* of cubes"):
        _ = request.normalised
