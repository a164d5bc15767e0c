"""Specs that are nearly right, by the hundred and with a fixed seed: a line each, no traceback."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.memory import fetch_bytes, worker_memory
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from tests.pipeline.runs import small_spec

SPECS = 500
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


@pytest.fixture(scope="module")
def full(volume: str, tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Any:
    """A spec with all its keys."""
    spec = small_spec(volume, tmp_path_factory.mktemp("fuzz") / "run", tiny_prior)
    return spec.model_dump(mode="json")


def test_mutated_specs_are_refused_in_a_line_or_make_a_plan(full: Any, tmp_path: Path) -> None:
    rng = random.Random(1)
    path, lines = tmp_path / "spec.yaml", []
    methods = [full["method"], {"name": "ddx"}, {"name": "gradient_descent"}]
    clusters = [
        full["cluster"],
        {"kind": "address", "address": "tcp://127.0.0.1:1"},
        {"kind": "scheduler_file", "path": "x.json"},
        {"kind": "slurm", "cpu": {"count": 2}, "driver": {"walltime": "01:00:00"}},
    ]
    for i in range(SPECS):
        parts = full | {"method": rng.choice(methods), "cluster": rng.choice(clusters)}
        few = {"source", "output", "slab", *rng.sample(sorted(parts), 2)}  # long ones take long
        data = changed({name: part for name, part in parts.items() if name in few}, rng)
        path.write_text(as_yaml(data))
        if i % 5 == 0:
            path.write_bytes(spoilt(path.read_bytes(), rng))
        try:
            spec = load_spec(path)
            plan = make_plan(spec)
            assert plan.block_count > 0, data
            assert 0 < worker_memory(plan).total < 2**60, data
            assert fetch_bytes(plan).touched > 0, data
        except DdgmError as error:
            lines.append(str(error))
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} by {path.read_bytes()!r}") from error
    assert SPECS // 3 < len(lines) < SPECS - 20
    assert not [line for line in lines if "\n" in line or len(line) > 2000]
