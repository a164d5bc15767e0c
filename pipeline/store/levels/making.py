"""Makes the coarser levels of a run's images, each of the one before, as blocks finish."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from ddgm.pipeline.spec.levels import Pyramid, Shard
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.arrays import DamageError, StoreError, checksum, name_of
from ddgm.pipeline.store.levels.means import AreaMeans
from ddgm.pipeline.store.levels.records import Checksums, LevelLedger, ShardRecord, hash_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.terminal import plural

THREADS = min(4, os.cpu_count() or 1)  # each holds a shard and its means, 16 bytes a voxel
AHEAD = 64  # shards that are handed to them at once


@dataclass(frozen=True)
class Levels:
    """The coarser levels of a run.

    A shard is made of the shards below it, one read at a time, and recorded with a hash of their
    checksums: one that was made of others than are there now is made again. Its bytes depend on
    theirs alone, so two tasks may make it at once.

    Attributes:
        store: of the run.
        plan: of the run.
        digest: of the run; records of another count for nothing.
    """

    store: RunStore
    plan: Plan
    digest: str

    @cached_property
    def pyramid(self) -> Pyramid:
        """The places of all shards."""
        return Pyramid(self.plan)

    @cached_property
    def ledger(self) -> LevelLedger:
        """The records of the shards."""
        return LevelLedger(self.store.folder, self.pyramid)

    def climb(self, block: int) -> None:
        """Make what can be made now that a block is recorded: each shard below which all is done.

        A record is put before one looks for others, so of blocks that end at once, the last to be
        recorded finds them all.
        """
        shard = self.pyramid.shard_of(self.plan.block(block))
        while (shard := self.pyramid.above(shard)) is not None:
            parents = self.parents(shard)
            if len(parents) < len(self.pyramid.below(shard)):
                return
            record = self._record(shard)
            if record is None or record.made_of != hash_of(parents):
                self.make(shard, parents)

    def complete(self) -> Iterator[StoreError | None]:
        """Make every shard that is not there or is out of date, of what has been done so far.

        Yields for each shard what keeps it from being made, as a damaged one below it does.
        """
        with ThreadPoolExecutor(THREADS) as threads:
            for level in self.pyramid.levels[1:]:
                shards = self.pyramid.shards(level.number)
                while some := list(islice(shards, AHEAD)):
                    yield from threads.map(self._complete, some)

    def check(self, made: Iterable[StoreError | None]) -> None:
        """Go through what `complete` yields, to its end.

        Raises:
            StoreError: some shards could not be made.
        """
        root = self.store.root
        if faults := [fault for fault in made if fault is not None]:
            raise DamageError(
                f"{root}: {faults[0]}, which keeps {plural(len(faults), 'shard')} of coarser "
                f"levels from being made; mend it with `ddgm repair {root}`"
            )

    def parents(self, shard: Shard) -> dict[Shard, Checksums]:
        """The shards below one that are done, with the checksums of their layers."""
        below = self.pyramid.below(shard)
        if shard.level > 1:
            found = self.ledger.records(below)
            return {s: r.checksums for s, r in found.items() if r.digest == self.digest}
        blocks = {self.pyramid.block_of(s): s for s in below}
        done = self.store.ledger.records_at(list(blocks))
        return {
            blocks[r.block]: {layer: r.checksums.get(layer, "") for layer in self.pyramid.layers}
            for r in done
            if (r.digest, r.state) == (self.digest, "done")
        }

    def make(self, shard: Shard, parents: Mapping[Shard, Checksums]) -> None:
        """Make a shard, all of its layers.

        Raises:
            StoreError: what it is to be made of is damaged.
        """
        level = self.pyramid.levels[shard.level]
        self.ledger.forget(shard)
        sums, sizes = {}, {}
        for layer in self.pyramid.layers:
            data = self._means(layer, shard, parents)
            sizes[layer] = self.store.arrays.write_shard(layer, level, shard, data)
            sums[layer] = checksum(data)
        number, made_of = self.pyramid.number_of(shard), hash_of(parents)
        self.ledger.put(ShardRecord(shard.level, number, self.digest, made_of, sums, sizes))

    def fault(self, shard: Shard, layers: Sequence[Layer]) -> str | None:
        """The fault of a shard, by its record and its data; None where there is none.

        While not all is done below it, it need not be there, nor be of what there is by now.

        Args:
            shard: of a coarser level.
            layers: to look at.
        """
        parents, record = self.parents(shard), self._record(shard)
        finished = len(parents) == len(self.pyramid.below(shard))
        if record is None:
            return "not there" if finished else None
        if finished and record.made_of != hash_of(parents):
            return "made of other data than are there now"
        for layer in layers:
            try:
                data = self.store.arrays.read_shard(layer, self.pyramid.levels[shard.level], shard)
            except StoreError as error:
                return f"{layer}: {error}"
            if checksum(data) != record.checksums.get(layer):
                return f"{layer}: the data is not what was written"
        return None

    def _complete(self, shard: Shard) -> StoreError | None:
        parents, record = self.parents(shard), self._record(shard)
        if not parents:
            if record is not None:
                self._remove(shard)
            return None
        current = record is not None and record.made_of == hash_of(parents)
        if record is not None and current and self._is_whole(shard, record):
            return None
        try:
            self.make(shard, parents)
        except StoreError as error:
            return error
        return None

    def _record(self, shard: Shard) -> ShardRecord | None:
        record = self.ledger.record(shard)
        return record if record is not None and record.digest == self.digest else None

    def _is_whole(self, shard: Shard, record: ShardRecord) -> bool:
        names = [name_of(layer, shard) for layer in self.pyramid.layers]
        sizes = self.store.folder.sizes(names)
        return dict(zip(self.pyramid.layers, sizes, strict=True)) == record.sizes

    def _remove(self, shard: Shard) -> None:
        self.ledger.forget(shard)
        for layer in self.pyramid.layers:
            self.store.folder.delete(name_of(layer, shard))

    def _means(self, layer: Layer, shard: Shard, parents: Mapping[Shard, Checksums]) -> np.ndarray:
        """The means of what is below a shard: one shard after another is read, and checked."""
        level, before = self.pyramid.levels[shard.level], self.pyramid.levels[shard.level - 1]
        own = zip(level.index(shard), level.step, before.shape, strict=True)
        spans = [(i.start * step, min(i.stop * step, end)) for i, step, end in own]
        means = AreaMeans(
            [b - a for a, b in spans], level.step, self.plan.spec.output.dtype_of(layer)
        )
        for parent, sums in parents.items():
            data = self.store.arrays.read_shard(layer, before, parent)
            if checksum(data) != sums.get(layer):
                raise StoreError(f"{name_of(layer, parent)} is not what was written")
            index = before.index(parent)
            means.add(data, [i.start - first for i, (first, _) in zip(index, spans, strict=True)])
        return means.means()
