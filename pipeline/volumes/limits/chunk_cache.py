"""The chunks of a source that a process has read last, in memory."""

from __future__ import annotations

from functools import cache
from typing import Any

from ddgm.pipeline.volumes.limits.traffic import METER


def chunk_cache() -> Any:
    """A cache that keeps nothing until it is made larger: `grow`. What it has is counted as a hit.

    It is cloud-volume's own, bounded in bytes, which threads may share; the longest unused goes.
    """
    return _class()(0, size_in_bytes=True)


@cache
def _class() -> Any:
    from cloudvolume.lru import LRU

    class ChunkCache(LRU):
        """The library's cache, with a count of what was found in it."""

        def get(self, key: Any, default: Any = None) -> Any:
            value = super().get(key, default)
            METER.count(hits=1)
            return value

        def grow(self, size: int) -> None:
            """Keep at least so many bytes; several runs may read one volume."""
            self.resize(max(size, self.size))

    return ChunkCache
