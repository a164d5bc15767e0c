"""Reads a run's output again and holds it against the ledger."""

from __future__ import annotations

from rich.console import Console

from pipeline.ledger import Record
from pipeline.manifest import plan_of
from pipeline.plan import Plan
from pipeline.progress import bar
from pipeline.store import RunStore, StoreError, checksum


def verify_run(root: str, repair: bool, console: Console) -> tuple[list[str], int]:
    """One line for each block that is not as it should be, and the number of blocks.

    Args:
        root: the run's folder.
        repair: remove the records of damaged blocks, so that the next run does them again.
        console: for the progress.

    Raises:
        StoreError: there is no run there.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    problems = []
    with bar(console) as progress:
        for index in progress.track(range(plan.block_count), description="verifying"):
            record = store.record(index)
            problem = _problem(store, plan, record, manifest["digest"])
            if problem is None:
                continue
            problems.append(f"block {index}: {problem}")
            if repair and record is not None:
                store.forget(index)
    return problems, plan.block_count


def _problem(store: RunStore, plan: Plan, record: Record | None, digest: str) -> str | None:
    if record is None:
        return "not done yet"
    if record.state == "failed":
        return f"failed: {record.cause}"
    if record.digest != digest:
        return "done by another spec, code or weights"
    block = plan.block(record.block)
    for layer in plan.spec.output.layers:
        try:
            data = store.read(plan, layer, block)
        except StoreError as error:
            return f"{layer}: {error}"
        if checksum(data) != record.checksums.get(layer):
            return f"{layer}: the data is not what was written"
    return None
