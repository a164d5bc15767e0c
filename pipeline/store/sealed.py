"""JSON files that carry a checksum of their own bytes, so that no change to them goes unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "checksum"
_BLANK = "0" * 32  # stands where the checksum will, while that is computed
_MARK, _END = f', "{KEY}": "'.encode(), b'"}'  # around it


class DamagedError(ValueError):
    """A file that is not as it was written."""


def seal(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """The JSON text of an object, with one more member: BLAKE2b over the whole of the text."""
    blank = json.dumps({**content, KEY: _BLANK}, indent=indent).encode()
    return _filled(blank, _BLANK, _digest(blank))


def unseal(data: bytes) -> dict[str, Any]:
    """The object that `seal` was given.

    Raises:
        DamagedError: a single bit is not as it was written.
    """
    try:
        content = json.loads(data)
        found = content.pop(KEY)
        if _digest(_filled(data, found, _BLANK)) == found:
            return content
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedError("it is not one that ddgm wrote") from error
    raise DamagedError("it has changed since ddgm wrote it")


def sealed_text(data: bytes) -> bytes:
    """The JSON text of the object that `seal` was given, without indent; quicker than `unseal`.

    Raises:
        DamagedError: a single bit is not as it was written.
    """
    text, mark, end = data.rpartition(_MARK)
    blank = text + mark + _BLANK.encode() + _END
    if len(data) != len(blank) or mark + _digest(blank).encode() + _END != mark + end:
        raise DamagedError("it has changed since ddgm wrote it")
    return text + b"}"


def _filled(text: bytes, old: str, new: str) -> bytes:
    """The text with another checksum in it; it is the last member."""
    before, after = text.rsplit(old.encode(), 1)
    return before + new.encode() + after


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()
