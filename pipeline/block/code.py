"""The hash of the code that decides a block's bytes.

It is stored in every record and compared on every worker, so that no output mixes two versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# Packages, and modules, that a block's stages and a pool worker execute. What they import beside
# these is listed in tests/pipeline/block/test_code.py, each with the reason why it may change.
DECIDING = (
    "ddgm.core",
    "ddgm.pipeline.block",
    "ddgm.pipeline.errors",
    "ddgm.pipeline.spec",
    "ddgm.pipeline.store.arrays",
    "ddgm.pipeline.store.files",
    "ddgm.pipeline.store.levels",
    "ddgm.pipeline.store.ome",
    "ddgm.pipeline.volumes",
    "ddgm.workers.batching",
    "ddgm.workers.pool_worker",
    "ddgm.workers.pooled_denoiser",
)
OMITTED = "ddgm.core.training"


@cache
def code_digest() -> str:
    """SHA-256 of the source files that decide a block's bytes, as this process found them."""
    return digest_of(deciding_modules())


def deciding_modules() -> dict[str, Path]:
    """The source files of `code_digest`, by the name that each is imported under."""
    found = {}
    for name in DECIDING:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin)
        if not spec.submodule_search_locations:
            found[name] = path
            continue
        for file in path.parent.rglob("*.py"):
            parts = file.relative_to(path.parent).with_suffix("").parts
            found[".".join((name, *parts)).removesuffix(".__init__")] = file
    return {name: path for name, path in found.items() if not name.startswith(OMITTED)}


def digest_of(modules: Mapping[str, Path]) -> str:
    """SHA-256 over the names, lengths and bytes of modules."""
    digest = hashlib.sha256()
    for name, path in sorted(modules.items()):
        data = path.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
