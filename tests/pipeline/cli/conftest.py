"""The volume that the command line is tried on."""

from __future__ import annotations

import pytest

from tests.pipeline.runs import phantom_volume


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    return phantom_volume(tmp_path_factory.mktemp("volume") / "em")
