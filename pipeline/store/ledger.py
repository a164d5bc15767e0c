"""The ledger: a record for each block, by which a run resumes and is verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from ddgm.pipeline.store.files import Folder, IsAFolderError
from ddgm.pipeline.store.sealed import DamagedError, seal, sealed_text, unseal

Count = Annotated[int, Field(ge=0, lt=2**63)]
State = Literal["done", "failed"]
LEDGER = "ledger"
COARSER = "levels"  # folder in it, of the records of coarser levels
INDEX = "index"  # folder in it, of what `LedgerIndex` keeps
THOUSAND = 1000  # records to a folder, few enough to list


@dataclass(frozen=True)
class Record:
    """One block's record.

    Attributes:
        block: its index in the plan.
        digest: hash of spec, code and weights; a record of another digest counts for nothing.
        state: `done` only after all of the block's data is in place.
        attempts: how often the block was begun, this time included.
        checksums: of the data as written, by layer.
        read: of the source for it: `requests`, `bytes` as they came, and `hits` in the cache.
        gpu_seconds: those of `seconds` that a process with a GPU computed.
        sizes: bytes of the shards that hold the data, by layer.
        missing_voxels: source voxels that were not there and were filled.
        metrics: one mapping per slice, see `stages.score`.
        seconds: spent in each stage.
        worker: name of the process that did it.
        finished: when, in UTC (ISO 8601).
        cause: why it failed: one line.
        detail: the end of the traceback, for a failure.
        peak: most bytes that the process which wrote it had ever held.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    block: Count
    digest: str
    state: State
    attempts: Count = 1
    checksums: dict[str, str] = field(default_factory=dict)
    missing_voxels: Count = 0
    metrics: list[dict[str, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    worker: str = ""
    finished: str = ""
    cause: str = ""
    detail: str = ""
    peak: Count = 0
    sizes: dict[str, Count] = field(default_factory=dict)
    read: dict[str, Count] = field(default_factory=dict)
    gpu_seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The bytes of its file in the ledger."""
        return seal(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        """Read one back.

        Raises:
            DamagedError: it is not as it was written: cut by a power cut, say, or edited.
        """
        try:
            record = _RECORD.validate_json(sealed_text(data), strict=True)
            if record.finished:
                datetime.fromisoformat(record.finished)
        except ValueError as error:  # pydantic's are among these
            unseal(data)  # says so if it is damaged
            raise DamagedError("it is another version's") from error
        return record


_RECORD = TypeAdapter(Record)


@dataclass(frozen=True)
class Ledger:
    """The records of a run's blocks: RUN/ledger/000/000042.json."""

    folder: Folder

    def put(self, record: Record) -> None:
        """Put a block's record in place, atomically; the data must be there before."""
        self.folder.write(record_name(record.block), record.to_json())

    def forget(self, block: int) -> None:
        """Remove a block's record, so that the next run does the block again."""
        self.folder.delete(record_name(block))

    def record(self, block: int) -> Record | None:
        """A block's record; None where there is none that is as it was written."""
        with suppress(DamagedError):
            return self.checked_record(block)
        return None

    def checked_record(self, block: int) -> Record | None:
        """A block's record; None where there is none.

        Raises:
            DamagedError: it is not as it was written, or is another block's.
        """
        try:
            data = self.folder.read(record_name(block))
        except IsAFolderError as error:
            raise DamagedError("it is a folder") from error
        return None if data is None else _checked(record_name(block), data)

    def records(self) -> Iterator[Record]:
        """All records that are as they were written, in the memory that a thousand of them take."""
        for thousand in self.folder.names(LEDGER):
            if thousand in (COARSER, INDEX):
                continue
            names = self.folder.names(f"{LEDGER}/{thousand}")
            whole = [f"{LEDGER}/{thousand}/{name}" for name in names if name.endswith(".json")]
            yield from self.records_in(whole)

    def records_at(self, blocks: Sequence[int]) -> Iterator[Record]:
        """The records of these blocks, of those that have one that is as it was written."""
        return self.records_in([record_name(block) for block in blocks])

    def records_in(self, names: Sequence[str]) -> Iterator[Record]:
        """The records in these files, of those that are as they were written."""
        for name, data in self.folder.read_all(names):
            try:
                yield _checked(name, data)
            except DamagedError:  # such a block is not done
                continue

    def records_of(self, digest: str, blocks: int) -> Iterator[Record]:
        """The records of a run's blocks; those of another spec, code or weights count for nothing.

        Args:
            digest: of the run.
            blocks: of its plan.
        """
        return (r for r in self.records() if r.digest == digest and 0 <= r.block < blocks)


def record_name(block: int) -> str:
    """The name of a block's record, relative to the run's folder."""
    return f"{LEDGER}/{block // THOUSAND:03d}/{block:06d}.json"


def _checked(name: str, data: bytes) -> Record:
    record = Record.from_json(data)
    if record_name(record.block) != name:
        raise DamagedError(f"it is the record of block {record.block}")
    return record
