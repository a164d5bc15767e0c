"""A calibration of a phantom, by one chain and by two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from tests.pipeline.calibration.taught import METHOD, data
from tests.pipeline.cli.words import write_spec
from tests.pipeline.runs import phantom_volume


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")


@pytest.fixture(scope="module", params=[1, 2], ids=["one chain", "two chains"])
def samples(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def method(samples: int) -> dict[str, Any]:
    return {**METHOD, "samples": samples}


@pytest.fixture(scope="module")
def file(
    url: str, tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path, method: dict[str, Any]
) -> Path:
    """A calibration, made by the command of a run that is done."""
    folder = tmp_path_factory.mktemp("calibration")
    stored = ["reconstruction", "truth", *["spread"] * (method["samples"] > 1)]
    spec = data(url, folder / "taught", tiny_prior, method=method, output={"layers": stored})
    run_alone(Spec.model_validate_json(json.dumps(spec)), 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        from ddgm.pipeline.cli.run import calibrate

        calibrate(write_spec(folder, spec))
    return folder / "calibration.json"
