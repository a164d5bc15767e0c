"""A zarr store that reads as cloud-volume does, and tells a chunk that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class MissingChunkError(Exception):
    """A chunk or shard that the store does not have; zarr alone would fill it, unsaid."""


class CloudStore(Store):
    """A read-only store over cloud-files: its protocols, credentials, retries and time-outs.

    Args:
        url: of the folder, as cloud-files names it.
        kept: a cache of what was read last.
    """

    def __init__(self, url: str, kept: Any) -> None:
        from cloudfiles import CloudFiles

        super().__init__(read_only=True)
        self.url, self._kept = url, kept
        self._files: Any = CloudFiles(url, progress=False, num_threads=1)
        self._sizes: dict[str, int] = {}

    @property
    def supports_writes(self) -> bool:
        """False: the store is read-only."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """False: the store is read-only."""
        return False

    @property
    def supports_listing(self) -> bool:
        """False: many servers cannot list."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CloudStore) and other.url == self.url

    def __str__(self) -> str:
        return self.url

    __repr__ = __str__

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of a key, or a range of them; None for metadata that are not there.

        Raises:
            MissingChunkError: a chunk is not there.
            ValueError: it is empty, or shorter than the range.
        """
        data = await asyncio.to_thread(self._read, key, byte_range)
        if data is not None:
            return prototype.buffer.from_bytes(data)
        if key.endswith(METADATA):
            return None
        raise MissingChunkError(key)

    def _read(self, key: str, wanted: ByteRequest | None) -> bytes | None:
        if (key, wanted) in self._kept:
            with suppress(KeyError):  # gone meanwhile
                return self._kept[key, wanted]
        data = self._fetched(key, wanted)
        if data is not None:
            self._kept[key, wanted] = data
        return data

    def _fetched(self, key: str, wanted: ByteRequest | None) -> bytes | None:
        if wanted is None:
            data = self._files.get(key)
            length = 1
        else:
            if (size := self._size(key)) is None:
                return None
            start, end = _span(wanted, size)
            data = self._files.get({"path": key, "start": start, "end": end})
            length = end - start
        if data is not None and len(data) < length and not key.endswith(METADATA):
            raise ValueError(f"{key} is cut short")
        return data

    def _size(self, key: str) -> int | None:
        """Bytes of a key, which do not change; None where it is not there."""
        if key not in self._sizes:
            if not self._files.exists(key):
                return None
            self._sizes[key] = int(self._files.size(key))
        return self._sizes[key]

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Several ranges, one after the other."""
        return [await self.get(key, prototype, wanted) for key, wanted in key_ranges]

    async def exists(self, key: str) -> bool:
        """True if a key is there."""
        return await asyncio.to_thread(self._files.exists, key)

    async def set(self, key: str, value: Buffer) -> None:
        """Refused: the store is read-only."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refused: the store is read-only."""
        self._check_writable()

    async def _nothing(self) -> AsyncIterator[str]:
        raise NotImplementedError("a source is never listed")
        yield ""

    def list(self) -> AsyncIterator[str]:
        """Refused: many servers cannot list."""
        return self._nothing()

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refused: many servers cannot list."""
        return self._nothing()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refused: many servers cannot list."""
        return self._nothing()


def _span(wanted: ByteRequest, size: int) -> tuple[int, int]:
    """First byte, and the one after the last, of a range in a file of `size` bytes."""
    if isinstance(wanted, RangeByteRequest):
        return wanted.start, wanted.end
    if isinstance(wanted, OffsetByteRequest):
        return wanted.offset, size
    assert isinstance(wanted, SuffixByteRequest)
    return size - wanted.suffix, size
