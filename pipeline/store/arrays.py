"""The zarr volume of a run (OME-Zarr 0.5): its metadata, and the shards of its layers."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.buffer import cpu
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.layout import Index, LayerLayout, layout_of
from ddgm.pipeline.spec.levels import Level, Pyramid, Shard
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Block, Plan
from ddgm.pipeline.store.files import OPTIONS, Folder
from ddgm.pipeline.store.ome import array_attributes, ome_attributes
from ddgm.pipeline.volumes.box import Box

VOLUME = "volume.zarr"


class StoreError(DdgmError):
    """An output folder that cannot be used as asked."""


class DamageError(StoreError):
    """A run's folder in which something is not as it was written."""

    failure = "damage"


_opening = threading.Lock()  # zarr's settings are those of the process


@dataclass(frozen=True)
class Arrays:
    """The layers of a run: RUN/volume.zarr/LAYER/LEVEL, with level 0 what the blocks write."""

    folder: Folder

    def array(self, layer: str, mode: str = "r", level: int = 0) -> zarr.Array:
        """A layer's array. With mode `r+`, all-zero chunks are written like any other."""
        return _opened(mode, **self._zarr(f"{VOLUME}/{layer}/{level}"))

    def write(self, array: zarr.Array, layout: LayerLayout, block: Block, data: np.ndarray) -> int:
        """Write a block of a layer, one whole shard; returns its bytes once it is on the disk."""
        name = shard_name(layout, block)
        self.folder.delete(name)  # a torn one blocks rewriting
        self.folder.make_parents(name)
        with self.folder.store_errors():
            array[layout.index(block)] = data
        self.folder.sync(name)
        return self.folder.size(name)

    def read(self, plan: Plan, layer: Layer, block: Block) -> np.ndarray:
        """A block of a layer as it was written.

        Raises:
            StoreError: its shard is missing, empty or damaged (zarr alone would return zeros
                for one that is missing or empty).
        """
        layout = layout_of(plan, layer)
        return self._read(layer, 0, shard_name(layout, block), layout.index(block))

    def read_shard(self, layer: Layer, level: Level, shard: Shard) -> np.ndarray:
        """A shard of any level of an image.

        Raises:
            StoreError: it is missing, empty or damaged.
        """
        return self._read(layer, level.number, name_of(layer, shard), level.index(shard))

    def write_shard(self, layer: Layer, level: Level, shard: Shard, data: np.ndarray) -> int:
        """Put a shard of a coarser level in place, whole or not at all; returns its bytes.

        It is made in memory: several tasks may write one shard at once, of which none may delete
        what another has just written.
        """
        name = f"{VOLUME}/{layer}/{level.number}/zarr.json"
        about = self.folder.read(name)
        if about is None:
            raise StoreError(f"{name} is missing")
        kept: dict[str, Any] = {"zarr.json": cpu.Buffer.from_bytes(about)}
        _opened("r+", store=MemoryStore(kept))[level.index(shard)] = data
        whole = kept[shard.key].to_bytes()
        self.folder.write(name_of(layer, shard), whole)
        return len(whole)

    def read_box(self, layer: Layer, level: Level, box: Box, shards: Sequence[Shard]) -> np.ndarray:
        """A box of a level's array, zero where no shard is.

        Args:
            layer: an image.
            level: one of its levels.
            box: of the level's array.
            shards: those that hold the box.

        Raises:
            StoreError: one of them is missing, empty or damaged.
        """
        names = [name_of(layer, shard) for shard in shards]
        for name, size in zip(names, self.folder.sizes(names), strict=True):
            if not size:
                raise StoreError(f"{name} is missing or empty")
        return self._values(layer, level.number, f"{VOLUME}/{layer}/{level.number}", box.slices())

    def _read(self, layer: Layer, level: int, name: str, index: Index) -> np.ndarray:
        if not self.folder.size(name):
            raise StoreError(f"{name} is missing or empty")
        return self._values(layer, level, name, index)

    def _values(self, layer: Layer, level: int, name: str, index: Index) -> np.ndarray:
        try:
            with self.folder.store_errors():
                return np.asarray(self.array(layer, level=level)[index])
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(f"{name} is damaged ({error})") from error

    def wrong_metadata(self, plan: Plan, coarser: int = 0) -> dict[str, bytes]:
        """The zarr.json files, by name, that are missing or differ from the plan's.

        Args:
            plan: of the run.
            coarser: how many levels the run has beside level 0.
        """
        found = {f"{VOLUME}/{name}": data for name, data in metadata(plan, coarser).items()}
        return {name: d for name, d in found.items() if not _same_json(self.folder.read(name), d)}

    def mend_metadata(self, plan: Plan, coarser: int = 0) -> list[str]:
        """Write each zarr.json that differs from what the plan gives; returns their names."""
        wrong = self.wrong_metadata(plan, coarser)
        for name, data in wrong.items():
            self.folder.write(name, data)
        return list(wrong)

    def _zarr(self, name: str) -> dict[str, Any]:
        """Location of an array or group, as zarr's functions take it."""
        if local := self.folder.local_path(name):
            return {"store": Path(local)}  # of a text zarr takes `::` for fsspec's chaining
        return {"store": f"{self.folder.root.rstrip('/')}/{name}", "storage_options": OPTIONS}


def shard_name(layout: LayerLayout, block: Block) -> str:
    """The name of a block's shard, relative to the run's folder."""
    return f"{VOLUME}/{layout.layer}/0/{layout.key(block)}"


def name_of(layer: Layer, shard: Shard) -> str:
    """The name of a shard of any level of an image, relative to the run's folder."""
    return f"{VOLUME}/{layer}/{shard.level}/{shard.key}"


def metadata(plan: Plan, coarser: int = 0) -> dict[str, bytes]:
    """Every zarr.json of a run by its name below volume.zarr: a pure function of its arguments.

    Args:
        plan: of the run.
        coarser: how many levels images have beside level 0; runs of before there were any have 0.
    """
    kept: dict[str, Any] = {}
    root = zarr.open_group(MemoryStore(kept), mode="w", zarr_format=3)
    levels = Pyramid(plan).levels[: coarser + 1]
    for layer in plan.spec.output.layers:
        layout = layout_of(plan, layer)
        ome = ome_attributes(plan, layer, coarser) if layout.image else {}
        group = root.create_group(layer, attributes=ome)
        sizes = [(layout.shape, layout.shard, layout.chunks)]
        units: list[dict[str, Any]] = [{}]
        if layout.image and coarser:  # older runs have neither levels nor units
            sizes += [(level.shape, level.shard, level.chunks) for level in levels[1:]]
            units = [array_attributes(plan, level) for level in levels]
        for number, (shape, shard, chunks) in enumerate(sizes):
            group.create_array(
                str(number),
                attributes=units[number],
                shape=shape,
                shards=shard,
                chunks=chunks,
                dtype=layout.dtype,
                fill_value=0,
                serializer=BytesCodec(endian="little"),
                # the checksum lies inside the shard: a flipped bit is an error, not a wrong voxel
                compressors=[ZstdCodec(level=plan.spec.output.compression), Crc32cCodec()],
                dimension_names=layout.dimensions,
            )
    return {name: data.to_bytes() for name, data in kept.items()}


def _opened(mode: str, **where: Any) -> zarr.Array:
    # not open_array's `config`: zarr 3.1.6 passes over it for an array that exists (measured)
    with _opening, zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(**where, mode=mode)  # type: ignore[arg-type]


def checksum(data: np.ndarray) -> str:
    """BLAKE2b of an array's values in C order, little-endian: 32 hexadecimal digits."""
    values = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<"))
    return hashlib.blake2b(values.data, digest_size=16).hexdigest()


def _same_json(found: bytes | None, wanted: bytes) -> bool:
    """True if two JSON files have the same content, however they are laid out."""
    try:
        return found is not None and json.loads(found) == json.loads(wanted)
    except (ValueError, RecursionError):
        return False
