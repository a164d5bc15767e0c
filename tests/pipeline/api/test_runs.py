"""Runs in a notebook: what is wrong is said, in one line, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ddgm
from tests.pipeline.runs import phantom_volume, small_spec
from tests.pipeline.sample_volumes import chunk_file


@pytest.mark.cluster
def test_a_block_that_fails_is_an_error_and_the_others_can_be_read(
    tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em", shape=(32, 64, 8), offset=(0, 0, 0), chunk=(32, 64, 4))
    chunk_file(tmp_path / "em", (0, 0, 4)).unlink()
    spec = small_spec(url, tmp_path / "run", tiny_prior, limits={"attempts": 1})
    with pytest.raises(ddgm.DdgmError, match=r"1 of 2 blocks failed, the first with: .*missing"):
        ddgm.run(spec, progress=False)
    run = ddgm.open_run(tmp_path / "run")
    assert np.any(run.truth[:, :, :4])
    assert not np.any(run.truth[:, :, 4:])
    with pytest.raises(ddgm.DdgmError, match="has no layer 'spread'; it has reconstruction, truth"):
        _ = run.spread


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ddgm.DdgmError, match=r"no run.json"):
        ddgm.open_run(tmp_path)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"source": {"url": "file:///em"}}, "^output: required, and not there$"),
        ({"source": {"ulr": "file:///em"}}, "source.ulr: unknown key; did you mean 'url'"),
        ("none.yaml", "none.yaml: No such file"),
    ],
)
def test_a_spec_that_does_not_make_sense(source: str | dict[str, object], said: str) -> None:
    with pytest.raises(ddgm.DdgmError, match=said) as error:
        ddgm.load_spec(source)
    assert "\n" not in str(error.value)
