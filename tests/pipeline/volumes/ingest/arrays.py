"""Ingested volumes, read back; and refusals, which leave nothing behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.volumes.opening import open_volume
from ddgm.pipeline.volumes.volume import Cutout

SHAPE = (20, 40, 36)
NM = (8.0, 8.0, 8.0)


def to(folder: Path) -> str:
    folder.parent.mkdir(exist_ok=True)
    return f"precomputed://file://{folder}"


def whole(folder: Path) -> Cutout:
    volume = open_volume(to(folder), 0)
    return volume.read(volume.info.bounds)


def refused(run: Callable[[], object], folder: Path) -> str:
    """The one line of the DdgmError that `run` raises, once it is sure that nothing is left."""
    before = sorted(folder.parent.glob("*"))
    with pytest.raises(DdgmError) as caught:
        run()
    assert sorted(folder.parent.glob("*")) == before
    message = str(caught.value)
    assert "\n" not in message
    assert re.search("[;:] (give|choose|convert|mend|remove|check|name|run|save) ", message), (
        message
    )
    return message
