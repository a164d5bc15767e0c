"""Two volumes, and a training on them that is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.training import bricks as brick_files
from tests.pipeline.training.specs import trained, training_spec, volume


@pytest.fixture
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brick_files, "PATIENCE", 30.0)


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two volumes with shares of the patches unlike those of the voxels."""
    folder = tmp_path_factory.mktemp("volumes")
    a = volume(folder / "a", (20, 40, 36), voxel_size_nm=(16, 16, 16))
    b = volume(folder / "b", (16, 24, 40), seed=1, voxel_size_nm=(16, 16, 16))
    return [{"url": a, "share": 1.0}, {"url": b, "share": 3.0}]


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, both: list[dict[str, Any]]) -> Path:
    """A training that was validated, and is done."""
    validation = {"url": both[0]["url"], "patches": 6, "every": 5, "slices": 1}
    out = tmp_path_factory.mktemp("done") / "out"
    return trained(training_spec("", out, {"volumes": both}, validation=validation))
