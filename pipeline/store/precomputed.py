"""The reconstruction once more as sharded Neuroglancer precomputed, for tools that read no zarr.

RUN/precomputed/info          all levels; written last, so that no program opens what is half made
RUN/precomputed/16_16_16/...  the shards of a level, named by the sides of its voxels (x, y, z)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from ddgm.core.files import PARTIAL
from ddgm.pipeline.spec.levels import Level, Pyramid
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.arrays import DamageError, StoreError
from ddgm.pipeline.store.levels.making import AHEAD, THREADS
from ddgm.pipeline.store.run_store import PRECOMPUTED, RunStore
from ddgm.pipeline.volumes.box import Box, Triple
from ddgm.pipeline.volumes.cloudvolume_fixes import cloud_volume
from ddgm.pipeline.volumes.coordinates import centre_of, nearest_voxel, origin_of, size_of

LAYER: Layer = "reconstruction"
INFO = f"{PRECOMPUTED}/info"
SHARD_BYTES = 2**26  # of a shard's voxels; a thread that makes one holds four times as much


@dataclass(frozen=True)
class Piece:
    """A shard of a level: its file, and its voxels in the level's array."""

    name: str
    level: Level
    box: Box


@dataclass(frozen=True)
class Precomputed:
    """RUN/precomputed, which is made of the finished volume.zarr alone, shard by shard.

    A shard that is there is whole. Its bytes depend on its voxels alone: nothing is compressed.

    Attributes:
        store: of the run.
        plan: of the run.
        coarser: how many levels the run has beside level 0.
    """

    store: RunStore
    plan: Plan
    coarser: int

    @cached_property
    def pyramid(self) -> Pyramid:
        """The levels, and the shards of volume.zarr."""
        return Pyramid(self.plan)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Those that are written."""
        return self.pyramid.levels[: self.coarser + 1]

    @cached_property
    def info(self) -> bytes:
        """The info file."""
        about = {
            "@type": "neuroglancer_multiscale_volume",
            "type": "image",
            "data_type": self.plan.spec.output.dtype,
            "num_channels": 1,
            "scales": [self._scale(level) for level in self.levels],
        }
        return json.dumps(about, indent=2).encode()

    @property
    def is_complete(self) -> bool:
        """True if all has been made: the info is there."""
        return self.store.folder.read(INFO) == self.info

    def make(self) -> Iterator[Piece]:
        """Make each shard that is not there, and then the info; yields the shards in their order.

        Raises:
            StoreError: a shard of volume.zarr that is needed is not there, or damaged.
        """
        folder, pieces = self.store.folder, self.pieces()
        if self.is_complete:
            return
        folder.delete(INFO)
        self._remove_partials()
        with ThreadPoolExecutor(THREADS) as threads:
            while some := list(islice(pieces, AHEAD)):
                sizes = folder.sizes([piece.name for piece in some])
                missing = [piece for piece, size in zip(some, sizes, strict=True) if not size]
                for _ in threads.map(self._write, missing):
                    pass
                yield from some
        folder.write(INFO, self.info)

    def forget(self, names: Iterable[str]) -> None:
        """Remove the info and the shards of these names, which `make` then makes again."""
        for name in (INFO, *names):
            self.store.folder.delete(name)

    def remove(self) -> None:
        """Remove all of it, the info first."""
        self.forget([])
        self.store.folder.remove(PRECOMPUTED)

    def fault(self, piece: Piece) -> str | None:
        """The fault of a shard, by the voxels of volume.zarr; None where there is none."""
        found = self.store.folder.read(piece.name)
        if found is None:
            return "not there"
        try:
            wanted = self._encoded(piece)
        except StoreError as error:
            return f"cannot be compared: {error}"
        return None if found == wanted else "not what volume.zarr holds"

    def pieces(self) -> Iterator[Piece]:
        """All shards, the finest level first."""
        for level, scale in zip(self.levels, json.loads(self.info)["scales"], strict=True):
            image = self._images[level.number]
            x, y, z = (int(n) for n in image.shard_shape())
            chunk = scale["chunk_sizes"][0][::-1]
            whole = Box((0, 0, 0), level.shape)
            for box in whole.parts((0, 0, 0), (z, y, x)):
                first = [min(a + c, b) for a, c, b in zip(box.start, chunk, box.stop, strict=True)]
                corner = self._at(level, Box(box.start, _triple(first)))
                name = image.shard_filename(corner, level.number)
                yield Piece(f"{PRECOMPUTED}/{scale['key']}/{name}", level, box)

    @property
    def count(self) -> int:
        """Shards of all levels."""
        return sum(1 for _ in self.pieces())

    def _scale(self, level: Level) -> dict[str, Any]:
        sides = size_of(self.plan.info.voxel_size_nm, level.factor)
        chunk = [min(n, c) for n, c in zip(level.shape, self.plan.spec.output.chunks, strict=True)]
        return {
            "key": "_".join(f"{side:.12g}" for side in sides[::-1]),
            "size": level.shape[::-1],
            "resolution": sides[::-1],
            "voxel_offset": self._offset(level)[::-1],
            "chunk_sizes": [chunk[::-1]],
            "encoding": "raw",
            "sharding": self._sharding(level, _triple(chunk)),
        }

    def _offset(self, level: Level) -> Triple:
        """A level's first voxel: its corner in whole voxels, half a voxel beside it at most."""
        size, origin = self.plan.info.voxel_size_nm, self.plan.info.origin_nm
        sides = size_of(size, level.factor)
        centre = centre_of(self.plan.region.start, size, origin, level.factor)
        return nearest_voxel(origin_of(centre, sides), sides)

    def _sharding(self, level: Level, chunk: Triple) -> dict[str, Any]:
        """As many chunks to a shard as fit, 2ⁿ, in the order of their Morton codes."""
        bits = sum((-(-n // c) - 1).bit_length() for n, c in zip(level.shape, chunk, strict=True))
        item = np.dtype(self.plan.spec.output.dtype).itemsize
        inside = min(bits, max(0, (SHARD_BYTES // (prod(chunk) * item)).bit_length() - 1))
        return {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": inside,
            "minishard_bits": 0,
            "shard_bits": bits - inside,
            "minishard_index_encoding": "raw",
            "data_encoding": "raw",
        }

    @cached_property
    def _images(self) -> list[Any]:
        """cloud-volume's images, which lay out shards; where these lie is nothing to them.

        One for each level: `shard_filename` goes by the level that its image was opened at.
        """
        about = {"info": json.loads(self.info), "provenance": {}}
        place = "precomputed://mem://ddgm"
        return [cloud_volume()(place, mip=level.number, **about).image for level in self.levels]

    def _at(self, level: Level, box: Box) -> Any:
        """A box of a level's array, as cloud-volume names it."""
        from cloudvolume import Bbox

        first = np.array(self._offset(level))
        return Bbox((first + box.start)[::-1], (first + box.stop)[::-1])

    def _encoded(self, piece: Piece) -> bytes:
        number, box = piece.level.number, piece.box
        shards = self.pyramid.holding(number, box)
        data = self.store.arrays.read_box(LAYER, piece.level, box, shards)
        image = self._images[number]
        return image.make_shard(data.T[..., None], self._at(piece.level, box), number)[1]

    def _write(self, piece: Piece) -> None:
        root = self.store.root
        try:
            self.store.folder.write(piece.name, self._encoded(piece))
        except StoreError as error:
            raise DamageError(f"{root}: {error}; mend it with `ddgm repair {root}`") from error

    def _remove_partials(self) -> None:
        for scale in json.loads(self.info)["scales"]:
            at = f"{PRECOMPUTED}/{scale['key']}"
            for name in filter(PARTIAL.search, self.store.folder.names(at)):
                self.store.folder.delete(f"{at}/{name}")


def _triple(values: Any) -> Triple:
    z, y, x = values
    return z, y, x
