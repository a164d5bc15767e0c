"""The method loads with numpy and torch alone; which room may import which is in .importlinter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

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
GPU = "ddgm.core.networks.gpu"
COMPILED = f"{GPU}.kernels", f"{GPU}.fused"  # Triton comes with a GPU's torch alone
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


def modules(package: str) -> list[str]:
    """Every module of a package, by its name."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    parts = (p.relative_to(root).with_suffix("").parts for p in sorted(root.rglob("*.py")))
    return [".".join((package, *p)).removesuffix(".__init__") for p in parts]


def run_bare(names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE.format(heavy=set(HEAVY), names=names)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_method_loads_with_numpy_and_torch_alone() -> None:
    names = [m for m in modules("ddgm.core") if not m.startswith(("ddgm.core.training", *COMPILED))]
    assert {"ddgm.core.projectors.astra_matrix", "ddgm.core.networks.denoiser"} <= set(names)
    done = run_bare(names)
    assert done.returncode == 0, done.stderr


def test_what_is_blocked_is_blocked() -> None:
    assert "lightning is blocked" in run_bare(["ddgm.core.training.fit"]).stderr
