"""Reads a run's output again, holds it against the ledger, and mends what is damaged."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console

from pipeline.events import Subscriber
from pipeline.lease import refuse_if_alive
from pipeline.ledger import Record
from pipeline.manifest import check, plan_of
from pipeline.plan import Plan
from pipeline.progress import bar
from pipeline.runner import Summary, run
from pipeline.store import RunStore, StoreError, checksum


@dataclass
class Found:
    """What a verification found.

    Attributes:
        blocks: of the plan.
        problems: one line for each block that is not as it should be.
        damaged: blocks that are done by the ledger, with other data than it says.
        missing: how many blocks are not done.
    """

    blocks: int
    problems: list[str] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    missing: int = 0


def verify_run(root: str, console: Console) -> Found:
    """Look at every block of a run.

    Args:
        root: the run's folder.
        console: for the progress.

    Raises:
        StoreError: there is no run there.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    found = Found(plan.block_count)
    with bar(console) as progress:
        for index in progress.track(range(plan.block_count), description="verifying"):
            record = store.record(index)
            if (problem := _not_done(record, manifest["digest"])) is not None:
                found.missing += 1
            elif record is not None and (problem := _damage(store, plan, record)) is not None:
                found.damaged.append(index)
            if problem is not None:
                found.problems.append(f"block {index}: {problem}")
    return found


def repair_run(
    root: str, console: Console, emit: Subscriber, other_versions: bool = False
) -> Summary:
    """Do the damaged blocks of a run again, by its own spec, and no others.

    Args:
        root: the run's folder.
        console: for the progress.
        emit: told of all that happens.
        other_versions: whether to do so by other versions of torch and the like; see `check`.

    Raises:
        DdgmError: there is no run, a driver is at work on it, or it cannot be run any more: by
            another version of the code, say.
    """
    store = RunStore(root)
    refuse_if_alive(store.folder)
    damaged = verify_run(root, console).damaged
    spec = plan_of(store.manifest()).spec
    here = spec.model_copy(update={"output": spec.output.model_copy(update={"path": root})})
    if not damaged:
        return Summary(0)
    check(here, other_versions=other_versions)  # before their records go
    for block in damaged:
        console.print(f"block {block} is damaged, and done again")
        store.forget(block)
    return run(here, emit, only=damaged, other_versions=other_versions)


def _not_done(record: Record | None, digest: str) -> str | None:
    if record is None:
        return "not done yet"
    if record.state == "failed":
        return f"failed: {record.cause}"
    return None if record.digest == digest else "done by another spec, code or weights"


def _damage(store: RunStore, plan: Plan, record: Record) -> str | None:
    block = plan.block(record.block)
    for layer in plan.spec.output.layers:
        try:
            data = store.read(plan, layer, block)
        except StoreError as error:
            return f"{layer}: {error}"
        if checksum(data) != record.checksums.get(layer):
            return f"{layer}: the data is not what was written"
    return None
