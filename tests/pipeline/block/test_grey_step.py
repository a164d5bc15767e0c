"""Images of which every few grey levels are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ddgm.pipeline.block.intensity import in_steps
from ddgm.pipeline.block.stages import run_block
from ddgm.pipeline.run.preflight import prepare
from ddgm.pipeline.spec.model import Spec
from tests.pipeline.runs import layer, phantom_volume, spec_data


def spec_of(url: str, root: Path, weights: Path, **output: Any) -> Spec:
    data = spec_data(url, root, weights)
    data["output"] |= output
    return Spec.model_validate(data)


@pytest.mark.parametrize("step", [1, 3, 4, 16])
def test_every_grey_level_is_rounded_to_the_nearest_that_there_is(step: int) -> None:
    levels = np.arange(256, dtype=np.uint8)
    there = np.arange(0, 256, step)
    rounded = in_steps(levels, step)
    assert (rounded.dtype, set(rounded.tolist())) == (np.uint8, set(there.tolist()))
    nearest = np.abs(levels[:, None].astype(int) - there).min(1)
    np.testing.assert_array_equal(np.abs(levels.astype(int) - rounded), nearest)


def test_a_run_writes_its_images_in_steps_and_scores_them_as_they_were(
    tmp_path: Path, tiny_prior: Path
) -> None:
    url = phantom_volume(tmp_path / "em")
    records = {}
    for step in (1, 4):
        spec = spec_of(url, tmp_path / f"run{step}", tiny_prior, grey_step=step)
        records[step] = run_block(prepare(spec), 0)
    assert records[1].metrics == records[4].metrics
    assert records[1].digest != records[4].digest
    for name in ("reconstruction", "truth", "algebraic"):
        whole, steps = (layer(tmp_path / f"run{step}", name) for step in (1, 4))
        np.testing.assert_array_equal(steps, in_steps(whole, 4))
        assert records[4].sizes[name] < records[1].sizes[name]
    assert records[4].checksums["sinogram"] == records[1].checksums["sinogram"]


def test_steps_are_of_uint8(tmp_path: Path, tiny_prior: Path) -> None:
    with pytest.raises(ValidationError, match=r"grey_step: 4 is of images in uint8, and dtype is"):
        spec_of("a", tmp_path, tiny_prior, grey_step=4, dtype="float32")
