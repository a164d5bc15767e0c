"""The method loads with numpy and torch alone, and imports run one way."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("ddgm_core", "workers", "pipeline", "deploy")  # each may import those before it
SOURCES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
HEAVY = (
    "astra",
    "cloudvolume",
    "dask",
    "distributed",
    "lightning",
    "matplotlib",
    "pydantic",
    "ruamel",
    "safetensors",
    "scipy",
    "torchmetrics",
    "zarr",
)
COMPILED = "ddgm_core.gpu.kernels", "ddgm_core.gpu.fused"  # Triton comes with a GPU's torch alone
BARE = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
for name in {names!r}:
    importlib.import_module(name)
"""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(p): p for p in SOURCES}


def run_bare(names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE.format(heavy=set(HEAVY), names=names)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def imported(path: Path) -> set[str]:
    """Our modules that a file imports, at its top, in its functions or for its types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            source = node.module or ""
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= {n if n in MODULES else source for n in names}
    return {n for n in found if n.partition(".")[0] in ROOMS}


def test_the_method_loads_with_numpy_and_torch_alone() -> None:
    names = [
        name
        for name in MODULES
        if name.startswith("ddgm_core") and not name.startswith(("ddgm_core.training", *COMPILED))
    ]
    assert "ddgm_core.projectors.astra_matrix" in names
    assert "ddgm_core.denoiser" in names
    done = run_bare(names)
    assert done.returncode == 0, done.stderr


def test_what_is_blocked_is_blocked() -> None:
    assert "lightning is blocked" in run_bare(["ddgm_core.training.fit"]).stderr


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name: str) -> None:
    """The command line stands on top of all rooms and may import each."""
    room = name.partition(".")[0]
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if name == "pipeline.cli":
        allowed = set(ROOMS)
    assert {n.partition(".")[0] for n in imported(MODULES[name])} <= allowed


def test_no_files_import_each_other_in_circles() -> None:
    """A package's own parts come before it; what they have from it does not count."""
    graph = {name: imported(path) - {name.rpartition(".")[0]} for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_nothing_is_imported_that_is_not_there() -> None:
    missing = {n for path in SOURCES for n in imported(path)} - MODULES.keys()
    assert missing == set()
