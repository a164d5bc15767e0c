"""A precomputed volume of grey levels, whose chunks start at an offset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ddgm.pipeline.volumes.cloudvolume_fixes import bound_http, cloud_volume
from tests.pipeline.sample_volumes import grey, write_volume
from tests.pipeline.volumes.sources import OFFSET, SHAPE


@pytest.fixture
def short_waits() -> Iterator[None]:
    cloud_volume()
    bound_http(connect=2.0, read=0.3, attempts=2, backoff=0.01)
    yield
    bound_http()


@pytest.fixture
def data() -> np.ndarray:
    return grey(SHAPE)


@pytest.fixture
def folder(tmp_path: Path, data: np.ndarray) -> Path:
    write_volume(tmp_path / "em", data, offset=OFFSET)
    return tmp_path / "em"
