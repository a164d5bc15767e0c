"""Adds coarser levels to a run that has none, or makes those of its shards that are not there."""

from __future__ import annotations

from rich.console import Console

from ddgm.pipeline.progress_bar import Bar
from ddgm.pipeline.spec.levels import Pyramid
from ddgm.pipeline.store.arrays import DamageError
from ddgm.pipeline.store.levels.making import Levels
from ddgm.pipeline.store.lock import run_lock
from ddgm.pipeline.store.manifest import levels_of, plan_of
from ddgm.pipeline.store.run_store import RunStore


def add_levels(root: str, console: Console) -> int:
    """Make all coarser levels of a run's images, of the blocks that are done.

    Args:
        root: the run's folder.
        console: for the progress.

    Returns:
        How many coarser levels each image has.

    Raises:
        DdgmError: there is no run there, a driver is at work on it, its metadata are not as its
            plan gives, or a block is damaged.
    """
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    count = Pyramid(plan).levels[-1].number
    with run_lock(store.folder):
        there = store.arrays.wrong_metadata(plan, levels_of(manifest))
        # an addition that was cut off has left metadata with levels, and run.json without
        if wrong := sorted(there.keys() & store.arrays.wrong_metadata(plan, count)):
            raise DamageError(
                f"{root}/{wrong[0]} is missing or damaged; mend it with `ddgm repair {root}`"
            )
        if levels_of(manifest) != count:
            store.arrays.mend_metadata(plan, count)
            store.write_manifest({**manifest, "levels": count})
        levels = Levels(store, plan, manifest["digest"])
        with Bar(console) as progress:
            levels.check(
                progress.track(
                    levels.complete(), total=levels.pyramid.count, description="coarser levels"
                )
            )
    return count
