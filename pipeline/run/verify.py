"""Reads a run's output again, holds it against the ledger, and mends what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from ddgm.pipeline.block.code import code_digest
from ddgm.pipeline.progress_bar import Bar
from ddgm.pipeline.run.events import Subscriber
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.spec.levels import Shard
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.arrays import VOLUME, DamageError, StoreError, checksum
from ddgm.pipeline.store.levels.making import Levels
from ddgm.pipeline.store.lock import run_lock
from ddgm.pipeline.store.manifest import levels_of, plan_of
from ddgm.pipeline.store.precomputed import INFO, Precomputed
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.store.sealed import DamagedError

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True)
class Repaired:
    """Result of a repair: what it did, and what it left.

    Attributes:
        metadata: files of the volume that were written again.
        done: blocks that were done again.
        failures: blocks that failed again.
        missing: blocks that were not done before, and are left to `ddgm run`.
        shards: of coarser levels that were made again.
    copies: files of the precomputed copy that were made again.
    """

    metadata: list[str]
    done: int
    failures: int
    missing: int
    shards: int = 0
    copies: int = 0


@dataclass
class Found:
    """Result of a verification.

    Attributes:
        blocks: of the plan.
        problems: one line for each file of metadata, block, shard of a coarser level and file of
            the precomputed copy that is not as it should be.
        metadata: files of the volume that are not as the plan gives.
        damaged: blocks that are done by the ledger, with other data than it says.
        missing: how many blocks are not done.
        shards: of coarser levels, in each image.
        wrong_shards: those among them that are damaged or out of date.
        copies: files of the precomputed copy, where the spec asks for one and all blocks are done.
        wrong_copies: those among them that do not hold what volume.zarr holds; of one that has not
            been made to its end, its info alone.
    """

    blocks: int
    problems: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    missing: int = 0
    shards: int = 0
    wrong_shards: list[Shard] = field(default_factory=list)
    copies: int = 0
    wrong_copies: list[str] = field(default_factory=list)


def verify_run(root: str, console: Console) -> Found:
    """Look at the metadata, every block and every shard of a coarser level of a run.

    The data of an array whose own metadata are wrong cannot be told from damage, and are not read.

    Args:
        root: the run's folder.
        console: for the progress.

    Raises:
        StoreError: there is no run there.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    coarser = levels_of(manifest)
    metadata = list(store.arrays.wrong_metadata(plan, coarser))
    found = Found(plan.block_count, metadata=metadata)
    found.problems += [f"{name}: missing, or not as the plan gives" for name in found.metadata]
    readable: list[Layer] = [x for x in plan.spec.output.layers if _array(x) not in found.metadata]
    with Bar(console) as progress:
        for index in progress.track(range(plan.block_count), description="verifying"):
            problem = _damage(store, plan, index, manifest["digest"], readable)
            if problem is None:
                continue
            found.problems.append(f"block {index}: {problem.text}")
            if problem.done:
                found.damaged.append(index)
            else:
                found.missing += 1
        if coarser:
            levels = Levels(store, plan, manifest["digest"])
            found.shards = levels.pyramid.count
            shards = progress.track(
                levels.pyramid.coarser(), total=found.shards, description="coarser levels"
            )
            for shard in shards:
                images = levels.pyramid.layers
                layers: list[Layer] = [x for x in images if _array(x, shard.level) not in metadata]
                if (fault := levels.fault(shard, layers)) is not None:
                    found.problems.append(f"level {shard.level}, shard {shard.key}: {fault}")
                    found.wrong_shards.append(shard)
        if plan.spec.output.also is not None and not found.missing:
            _look_at_copy(Precomputed(store, plan, coarser), found, progress)
    return found


def _look_at_copy(copy: Precomputed, found: Found, progress: Progress) -> None:
    found.copies = copy.count + 1
    if not copy.is_complete:
        found.problems.append(f"{INFO}: not there, or not of this run")
        found.wrong_copies.append(INFO)
        return
    pieces = progress.track(copy.pieces(), total=found.copies - 1, description="precomputed")
    for piece in pieces:
        if (fault := copy.fault(piece)) is not None:
            found.problems.append(f"{piece.name}: {fault}")
            found.wrong_copies.append(piece.name)


def repair_run(
    root: str, console: Console, emit: Subscriber, other_versions: bool = False
) -> Repaired:
    """Write wrong metadata again, do the damaged blocks of a run again by its own spec, no others.

    Wrong shards of coarser levels are made again of what is below them.

    Args:
        root: the run's folder.
        console: for the progress.
        emit: called with every event.
        other_versions: whether to do so by other versions of torch and the like; see `check`.

    Raises:
        DdgmError: there is no run, a driver is at work on it, or it cannot be run any more: by
            another version of the code, say.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    with run_lock(store.folder) as lock:
        coarser = levels_of(manifest)
        metadata = list(store.arrays.wrong_metadata(plan, coarser))
        if metadata and manifest["code"] != code_digest():
            raise DamageError(
                f"{root}/{metadata[0]} is missing or damaged, and the run was made by another "
                "version of ddgm; repair it with that version"
            )
        for name in store.arrays.mend_metadata(plan, coarser):
            console.print(f"{name} is missing or damaged, and written again")
        found = verify_run(root, console)
        again = len(found.wrong_shards)
        if found.wrong_shards:
            levels = Levels(store, plan, manifest["digest"])
            for shard in found.wrong_shards:
                console.print(f"level {shard.level}, shard {shard.key} is made again")
                levels.ledger.forget(shard)
            faults = [fault for fault in levels.complete() if fault is not None]
            if faults and not found.damaged:  # those above damaged blocks are made after these
                raise faults[0]
        if not found.damaged:
            copies = _copied_again(Precomputed(store, plan, coarser), found.wrong_copies)
            return Repaired(metadata, 0, 0, found.missing, again, copies)
        for block in found.damaged:
            console.print(f"block {block} is damaged, and done again")
        spec = plan.spec
        here = spec.model_copy(update={"output": spec.output.model_copy(update={"path": root})})
        damaged = found.damaged
        result = run(here, emit, only=damaged, other_versions=other_versions, held=lock)
    return Repaired(metadata, result.done, len(damaged) - result.done, found.missing, again)


def _copied_again(copy: Precomputed, wrong: Sequence[str]) -> int:
    """Make these files of the precomputed copy again, all of it without its info; their number."""
    if not wrong:
        return 0
    if INFO in wrong:
        copy.remove()
    else:
        copy.forget(wrong)
    shards = sum(1 for _ in copy.make())
    return shards + 1 if INFO in wrong else len(wrong)


def _array(layer: Layer, level: int = 0) -> str:
    """The name of the metadata without which a level of a layer cannot be read."""
    return f"{VOLUME}/{layer}/{level}/zarr.json"


@dataclass(frozen=True)
class Problem:
    """A fault of a block, and whether the block was done before."""

    text: str
    done: bool


def _damage(
    store: RunStore, plan: Plan, index: int, digest: str, layers: Sequence[Layer]
) -> Problem | None:
    try:
        record = store.ledger.checked_record(index)
    except DamagedError as error:
        return Problem(f"its record cannot be used: {error}", done=True)
    if record is None:
        return Problem("not done yet", done=False)
    if record.digest != digest:
        return Problem("done by another spec, code or weights", done=False)
    if record.state == "failed":
        return Problem(f"failed: {record.cause}", done=False)
    block = plan.block(index)
    for layer in layers:
        try:
            data = store.arrays.read(plan, layer, block)
        except StoreError as error:
            return Problem(f"{layer}: {error}", done=True)
        if checksum(data) != record.checksums.get(layer):
            return Problem(f"{layer}: the data is not what was written", done=True)
    return None
