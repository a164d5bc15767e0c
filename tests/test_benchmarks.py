"""Benchmarks are run by hand; here each is imported."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import benchmarks

NAMES = [m.name for m in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_imports(name: str) -> None:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "neuroglancer":
            raise
        pytest.skip("needs ddgm[view]")
