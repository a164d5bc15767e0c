"""Documents and files with something in them changed, at random and by a seed."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 11, 10**5, 2**32, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.5,
    1e300, 1e-300, float("inf"), float("-inf"), float("nan"), "", "x", "12", "1_000", "[/b]",
    "\x1b[2J", "a\0b", "é" * 300, "/" * 300, "../..", "file://", "memory://x", "all", "error",
    [], [1], [[1, 2]], [0, 0], [3, 2, 1], {}, {"name": "ddx"}, {"kind": "slurm"}, {"x": 1},
    {"z": [0, 1]}, {"maximum": 1},
)  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all that a document holds."""
    if path:
        yield path
    if isinstance(node, dict):
        for key in node:
            yield from places(node[key], (*path, key))
    elif isinstance(node, list):
        for i in range(len(node)):
            yield from places(node[i], (*path, i))


def changed(document: Any, rng: random.Random) -> Any:
    """The document with something in it changed, taken away or added."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *way, last = rng.choice(list(places(document)) or [("x",)])
        parent = document
        for key in way:
            parent = parent[key]
        what = rng.choice(("value", "value", "value", "remove", "rename"))
        if what == "value" or not isinstance(parent, dict):
            parent[last] = rng.choice(VALUES)
        elif what == "remove":
            del parent[last]
        else:
            parent[rng.choice((f"{last}s", "x", "name", "", "\x1b"))] = parent.pop(last)
    return document


def as_yaml(document: Any) -> str:
    """JSON, but for the numbers that JSON has not."""
    return re.sub(r"\b(NaN|Infinity)\b", lambda n: f".{n[0][:3].lower()}", json.dumps(document))


def spoilt(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file with some of them changed, cut off, doubled or all replaced."""
    at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice(
        (
            data[:at],
            data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
            data[:at] + data[end:],
            data[:end] + data[at:],
            rng.choice((b"", b"null", b"[]", b"{}", b"1", b"\xff\xfe", b"[\n" * 50_000, b"NaN")),
        )
    )
