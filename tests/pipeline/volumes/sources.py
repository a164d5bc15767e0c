"""Where the tests' volume lies, and how a source fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.volume import SourceError

SHAPE = (40, 36, 32)
OFFSET = (5, 6, 7)
ALL = Box(OFFSET, (45, 42, 39))  # chunks of 16 start at z 5, 21, 37; y 6, 22, 38; x 7, 23
CHUNK = (21, 22, 23)


def local(folder: Path) -> str:
    return f"precomputed://file://{folder}"


def failure(read: Callable[[], Any], kind: str) -> str:
    """The message of the SourceError that `read` raises, once its form has been checked."""
    with pytest.raises(SourceError) as caught:
        read()
    assert caught.value.kind == kind
    assert caught.value.is_retryable == (kind == "unreachable")
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert message.startswith("source ")
    assert "; " in message  # the remedy
    return message
