"""What a run's digest must cover: every module that can change a block's bytes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from ddgm.pipeline.block.code import deciding_modules, digest_of

# what workers are told to run
STARTS = "ddgm.pipeline.block.stages", "ddgm.workers.pool_worker", "ddgm.workers.batching"

# imported by these, and not hashed: an edit there must not keep a run from being gone on with
EXEMPT = {
    "ddgm": "is the package's own face",
    "ddgm.pipeline.store.ledger": "is what is said of a block, in a file beside its data",
    "ddgm.pipeline.store.lock": "keeps other drivers away",
    "ddgm.pipeline.store.log": "writes logs",
    "ddgm.pipeline.store.process": "tells processes apart",
    "ddgm.pipeline.store.run_store": "makes and finds a run's folder; arrays and files write",
    "ddgm.pipeline.store.sealed": "puts checksums on run.json and records",
    "ddgm.pipeline.store.manifest": "says in run.json what a run is, in words",
    "ddgm.pipeline.terminal": "prints",
    "ddgm.workers.members": "lists workers: who computes, not what",
    "ddgm.workers.security": "holds TLS files",
    "ddgm.workers.slurm_spec": "holds the resources of batch jobs",
    "ddgm.workers.specs": "names clusters and prices: who computes, not what",
    "ddgm.workers.strict_model": "refuses a spec or takes it, and changes no value",
    "ddgm.workers.urls": "looks for passwords in URLs",
}


def file_of(module: str) -> Path | None:
    """A module's file, of ours alone."""
    try:
        spec = find_spec(module) if module.partition(".")[0] == "ddgm" else None
    except ModuleNotFoundError:  # a name within a module
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def imports(node: ast.AST) -> Iterator[str]:
    """Names that are imported anywhere below a node, but for those of `if TYPE_CHECKING:`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "write imports in full"
        yield node.module or ""
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    below = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        below = iter(node.orelse)
    for child in below:
        yield from imports(child)


def closure() -> dict[str, Path]:
    """Every module of ours that the starts import, their packages among them."""
    found: dict[str, Path] = {}
    left = list(STARTS)
    while left:
        module = left.pop()
        path = file_of(module)
        if path is None or module in found:
            continue
        found[module] = path
        left += [module.rpartition(".")[0], *imports(ast.parse(path.read_text()))]
    return found


def test_all_that_a_worker_imports_is_hashed_or_exempt_with_a_reason() -> None:
    found = closure()
    must = {"ddgm.pipeline.spec.method", "ddgm.pipeline.errors", "ddgm.core.methods.samplers"}
    assert set(STARTS) | must <= set(found)
    used = {name for name, path in found.items() if path.read_bytes()}  # no empty __init__
    assert used - set(deciding_modules()) == set(EXEMPT)


def test_the_digest_tells_apart_bytes_names_and_where_a_file_ends(tmp_path: Path) -> None:
    a, b, longer = (tmp_path / name for name in ("a.py", "b.py", "longer.py"))
    a.write_text("1")
    b.write_text("2")
    longer.write_text("12")
    there = digest_of({"x": a, "y": b})
    assert digest_of({"y": b, "x": a}) == there
    assert len({there, digest_of({"x": b, "y": a}), digest_of({"x": longer}), digest_of({})}) == 4
