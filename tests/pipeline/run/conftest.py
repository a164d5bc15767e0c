"""One volume for the runs of these tests, and what an undisturbed run makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddgm.pipeline.run import retry
from ddgm.pipeline.run import scheduler as scheduler_module
from ddgm.pipeline.run.runner import run_alone
from tests.pipeline.run.disturbed import BLOCKS, METHOD
from tests.pipeline.runs import layers, phantom_volume, small_spec


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume") / "em"
    phantom_volume(folder, chunk=(32, 140, 4))  # a chunk to a block
    return folder


@pytest.fixture(scope="session")
def reference(
    tmp_path_factory: pytest.TempPathFactory, volume: Path, tiny_prior: Path
) -> dict[str, bytes]:
    """What one process makes of it, without any cluster."""
    root = tmp_path_factory.mktemp("reference") / "run"
    spec = small_spec(f"precomputed://file://{volume}", root, tiny_prior, method=METHOD)
    for block in range(BLOCKS):
        run_alone(spec, block)
    return layers(root)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(retry, "BACK_OFF_SECONDS", 0.1)
