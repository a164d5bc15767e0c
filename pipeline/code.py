"""Which code decided a block's bytes: stamped on every record, held against on every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import ddgm_core

ROOT = Path(ddgm_core.__file__).parents[1]  # where all of our packages lie

# What decides a block's bytes beside `ddgm_core`: all that its stages and a pool worker import,
# but for what tests/pipeline/test_code.py lists with the reason.
DECIDING = (
    "pipeline.cloud",
    "pipeline.faults",
    "pipeline.files",
    "pipeline.job",
    "pipeline.method",
    "pipeline.part",
    "pipeline.plan",
    "pipeline.solver",
    "pipeline.source",
    "pipeline.spec",
    "pipeline.stages",
    "pipeline.store",
    "workers.batching",
    "workers.pool",
    "workers.resident",
)


@cache
def code_digest() -> str:
    """SHA-256 of the source files that decide a block's bytes, as this process found them."""
    return digest_of(ROOT, deciding_files())


def deciding_files() -> list[str]:
    """The files of `code_digest`, relative to the folder that our packages lie in."""
    core = (p.relative_to(ROOT) for p in (ROOT / "ddgm_core").rglob("*.py"))
    files = {p.as_posix() for p in core if "training" not in p.parts}
    return sorted(files | {f"{name.replace('.', '/')}.py" for name in DECIDING})


def digest_of(root: Path, files: Iterable[str]) -> str:
    """SHA-256 over the names, lengths and bytes of files below `root`."""
    digest = hashlib.sha256()
    for name in files:
        data = (root / name).read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
