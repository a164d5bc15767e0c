"""What a run's digest must cover: every module that can change a block's bytes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pipeline.code import ROOT, deciding_files, digest_of

STARTS = "pipeline.stages", "workers.pool", "workers.batching"  # what workers are told to run

# imported by these, and not hashed: an edit there must not keep a run from being gone on with
EXEMPT = {
    "pipeline.code": "decides what is hashed, which shows in the digest",
    "pipeline.journal": "writes logs",
    "pipeline.ledger": "is what is said of a block, in a file beside its data",
    "pipeline.work": "keeps time, and tells the driver where a block is",
    "workers.clusters": "finds or starts workers: who computes, not what",
    "workers.fleet": "lists workers: who computes, not what",
    "workers.security": "holds TLS files",
    "workers.settings": "holds Dask's settings",
    "workers.slurm": "holds the resources of batch jobs",
    "workers.urls": "looks for passwords in URLs",
}


def file_of(module: str) -> Path | None:
    """A module's file, of ours alone."""
    path = ROOT / module.replace(".", "/")
    found = (path / "__init__.py", path.with_suffix(".py"))
    return next((f for f in found if f.is_file()), None)


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
    assert set(STARTS) | {"pipeline.method", "pipeline.faults", "ddgm_core.samplers"} <= set(found)
    hashed = {ROOT / name for name in deciding_files()}
    used = {name: path for name, path in found.items() if path.read_bytes()}  # no empty __init__
    assert {n for n, path in used.items() if path not in hashed} == set(EXEMPT)


def test_what_is_hashed_is_there_and_imported_or_of_the_method() -> None:
    """No name that a moved file has left behind, and nothing that no worker runs."""
    assert len(set(deciding_files())) == len(deciding_files())
    reached = set(closure().values())
    for name in deciding_files():
        assert (ROOT / name).is_file()
        assert name.startswith("ddgm_core/") or ROOT / name in reached


def test_files_of_one_name_cannot_be_exchanged(tmp_path: Path) -> None:
    texts = {"a/x.py": "first", "b/x.py": "second"}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    before = digest_of(tmp_path, texts)
    (tmp_path / "a/x.py").write_text("second")
    (tmp_path / "b/x.py").write_text("first")
    assert digest_of(tmp_path, texts) != before
    (tmp_path / "a/x.py").write_text("first")
    (tmp_path / "b/x.py").write_text("second")
    assert digest_of(tmp_path, texts) == before
