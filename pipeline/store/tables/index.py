"""An index of the ledger: a thousand records in one file, so that they need not be read one by one.

It is to the records what git's index is to files: of each record it has the file's size and time of
change, and where these differ, the record itself is read. So a record alone makes a block done, and
an index that is lost, old or damaged costs time and nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

import numpy as np

from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.ledger import COARSER, INDEX, LEDGER, Ledger, record_name
from ddgm.pipeline.store.tables.ended import EndedBlocks

WORTH = 500  # records that are read one by one before an index is made of them
AT_ONCE = 16  # folders that are read at once over a network
SEAL = 16  # bytes of the hash before the columns


@dataclass(frozen=True)
class LedgerIndex:
    """The blocks of a run that have ended.

    Attributes:
        folder: of the run.
        digest: of the run; records of another count for nothing.
        blocks: of the plan.
    """

    folder: Folder
    digest: str
    blocks: int

    def ended(self, keep: bool = False) -> Iterator[EndedBlocks]:
        """All blocks that have ended, in the memory that a few thousands of them take.

        Args:
            keep: whether to index what had to be read record by record; the run lock must be held.
        """
        names = (n for n in self.folder.names(LEDGER) if n not in (COARSER, INDEX))
        if self.folder.local_path() is not None:
            for name in names:
                yield from self._thousand(name, keep)
            return
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while some := list(islice(names, AT_ONCE)):
                for parts in threads.map(lambda name: list(self._thousand(name, keep)), some):
                    yield from parts

    def add(self, thousand: int) -> None:
        """Index the records of a thousand blocks."""
        name = f"{thousand:03d}"
        self._write(name, self.folder.stamps(f"{LEDGER}/{name}"))

    def _thousand(self, name: str, keep: bool) -> Iterator[EndedBlocks]:
        """The ended blocks of a folder: those that its index knows, and the others."""
        stamps = self.folder.stamps(f"{LEDGER}/{name}")
        stamps = {record: stamp for record, stamp in stamps.items() if record.endswith(".json")}
        if (indexed := self._indexed(name, stamps)) is not None:
            yield indexed
            for block in indexed.block.tolist():
                del stamps[_file_of(block)]
        if keep and len(stamps) >= WORTH:
            read = self._write(name, self.folder.stamps(f"{LEDGER}/{name}"))
            yield read if indexed is None else read.where(~np.isin(read.block, indexed.block))
        elif stamps:
            yield self._read(name, list(stamps))

    def _read(self, name: str, records: Sequence[str]) -> EndedBlocks:
        """Blocks by their records."""
        found = Ledger(self.folder).records_in([f"{LEDGER}/{name}/{record}" for record in records])
        ours = (r for r in found if r.digest == self.digest and r.block < self.blocks)
        return EndedBlocks.of(ours)

    def _write(self, name: str, stamps: dict[str, str]) -> EndedBlocks:
        """Read all records of a folder and index those of blocks that are done.

        The stamps were taken before: a record that is replaced meanwhile has another by then.
        """
        read = self._read(name, [record for record in stamps if record.endswith(".json")])
        if len(read.block):
            file = io.BytesIO()
            known = [stamps[_file_of(block)] for block in read.block.tolist()]
            columns = read.arrays() | {"stamp": np.array(known), "digest": np.array(self.digest)}
            np.savez(file, allow_pickle=False, **columns)
            data = file.getvalue()
            self.folder.write(_name(name), blake2b(data, digest_size=SEAL).digest() + data)
        return read

    def _indexed(self, name: str, stamps: dict[str, str]) -> EndedBlocks | None:
        """What a folder's index says of the records that are still as they were."""
        sealed = self.folder.read(_name(name)) or b""
        data = sealed[SEAL:]
        if blake2b(data, digest_size=SEAL).digest() != sealed[:SEAL]:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        try:
            ended = EndedBlocks.from_arrays(arrays)
            known, digest = arrays["stamp"].tolist(), str(arrays["digest"])
        except KeyError:  # another version's
            return None
        pairs = zip(ended.block.tolist(), known, strict=True)
        same = [bool(stamp) and stamps.get(_file_of(block)) == stamp for block, stamp in pairs]
        ours = (ended.block < self.blocks) & (digest == self.digest)
        return ended.where(np.array(same, bool) & ours)


def _name(thousand: str) -> str:
    return f"{LEDGER}/{INDEX}/{thousand}.npz"


def _file_of(block: int) -> str:
    return record_name(block).rsplit("/", 1)[1]
