"""Records of the coarser levels' shards, beside those of the blocks in the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b

from pydantic import TypeAdapter

from ddgm.pipeline.spec.levels import Pyramid, Shard
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.ledger import COARSER, LEDGER, Count
from ddgm.pipeline.store.sealed import DamagedError, seal, unseal

Checksums = Mapping[str, str]  # by layer


@dataclass(frozen=True)
class ShardRecord:
    """One shard's record, of all layers.

    Attributes:
        level: its level.
        number: its place among the level's shards.
        digest: hash of spec, code and weights, as in the blocks' records.
        made_of: hash of the checksums of all that it was made of.
        checksums: of the data as written, by layer.
        sizes: bytes of the files that hold the data, by layer.
    """

    level: Count
    number: Count
    digest: str
    made_of: str
    checksums: dict[str, str]
    sizes: dict[str, Count]


_RECORD = TypeAdapter(ShardRecord)


@dataclass(frozen=True)
class LevelLedger:
    """The records of a run's coarser levels: RUN/ledger/levels/1/000/000042.json."""

    folder: Folder
    pyramid: Pyramid

    def put(self, record: ShardRecord) -> None:
        """Put a shard's record in place, atomically; its data must be there before."""
        self.folder.write(_name(record.level, record.number), seal(asdict(record)))

    def forget(self, shard: Shard) -> None:
        """Remove a shard's record, so that it is made again."""
        self.folder.delete(self._name_of(shard))

    def record(self, shard: Shard) -> ShardRecord | None:
        """A shard's record; None where there is none that is as it was written."""
        return next(iter(self.records([shard]).values()), None)

    def records(self, shards: Sequence[Shard]) -> dict[Shard, ShardRecord]:
        """The records of shards that have one that is as it was written."""
        names = {self._name_of(shard): shard for shard in shards}
        found = {}
        for name, data in self.folder.read_all(list(names)):
            with suppress(DamagedError):  # such a shard is made again
                found[names[name]] = _checked(name, data)
        return found

    def _name_of(self, shard: Shard) -> str:
        return _name(shard.level, self.pyramid.number_of(shard))


def hash_of(parents: Mapping[Shard, Checksums]) -> str:
    """Hash of all that a shard is made of: which shards, and the checksums of their layers."""
    parts = [[s.level, s.index, dict(sums)] for s, sums in sorted(parents.items())]
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _name(level: int, number: int) -> str:
    return f"{LEDGER}/{COARSER}/{level}/{number // 1000:03d}/{number:06d}.json"


def _checked(name: str, data: bytes) -> ShardRecord:
    content = unseal(data)
    try:
        record = _RECORD.validate_json(json.dumps(content), strict=True)
    except ValueError as error:
        raise DamagedError("it is another version's") from error
    if _name(record.level, record.number) != name:
        raise DamagedError("it is another shard's")
    return record
