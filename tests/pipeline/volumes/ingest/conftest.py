"""An array to ingest, and where to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.sample_volumes import grey
from tests.pipeline.volumes.ingest.arrays import SHAPE


@pytest.fixture
def data() -> np.ndarray:
    return grey(SHAPE)


@pytest.fixture
def npy(tmp_path: Path, data: np.ndarray) -> Path:
    np.save(tmp_path / "array.npy", data)
    return tmp_path / "array.npy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "em"
