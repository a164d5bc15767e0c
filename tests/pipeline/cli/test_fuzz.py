"""Specs that are nearly right, by the hundred and with a fixed seed: a line each, no traceback."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.memory import worker_memory
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from tests.pipeline.mutations import as_yaml, changed, spoilt
from tests.pipeline.runs import small_spec

pytestmark = pytest.mark.long

SPECS = 500


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
