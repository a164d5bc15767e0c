"""Which code decided a block's bytes: stamped on every record, held against on every worker."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import ddgm_core
import workers

# the modules of this room that decide a block's bytes
DECIDING = ("cloud", "job", "plan", "solver", "source", "spec", "stages", "store")


@cache
def code_digest() -> str:
    """SHA-256 of the source files that decide a block's bytes, as this process found them."""
    core = Path(ddgm_core.__file__).parent
    files = [p for p in core.rglob("*.py") if "training" not in p.parts]
    files += [Path(__file__).with_name(f"{name}.py") for name in DECIDING]
    files += [Path(workers.__file__ or "").with_name(f"{n}.py") for n in ("batching", "pool")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
