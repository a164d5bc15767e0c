"""The zarr volume of a run (OME-Zarr 0.5): its metadata, and the shards of its blocks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.layout import LayerLayout, layout_of
from ddgm.pipeline.spec.model import Layer
from ddgm.pipeline.spec.plan import AXES, Block, Plan
from ddgm.pipeline.store.files import OPTIONS, Folder
from ddgm.pipeline.volumes.coordinates import centre_of

VOLUME = "volume.zarr"


class StoreError(DdgmError):
    """An output folder that cannot be used as asked."""


@dataclass(frozen=True)
class Arrays:
    """The layers of a run: RUN/volume.zarr/LAYER/0."""

    folder: Folder

    def array(self, layer: str, mode: str = "r") -> zarr.Array:
        """A layer's array. With mode `r+`, all-zero chunks are written like any other."""
        # not open_array's `config`: zarr 3.1.6 passes over it for an array that exists (measured)
        with zarr.config.set({"array.write_empty_chunks": True}):
            return zarr.open_array(**self._zarr(f"{VOLUME}/{layer}/0"), mode=mode)  # type: ignore[arg-type]

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
        name = shard_name(layout, block)
        if not self.folder.size(name):
            raise StoreError(f"{name} is missing or empty")
        try:
            with self.folder.store_errors():
                return np.asarray(self.array(layer)[layout.index(block)])
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(f"{name} is damaged ({error})") from error

    def wrong_metadata(self, plan: Plan) -> dict[str, bytes]:
        """The zarr.json files, by name, that are missing or differ from the plan's."""
        found = {f"{VOLUME}/{name}": data for name, data in metadata(plan).items()}
        return {name: d for name, d in found.items() if not _same_json(self.folder.read(name), d)}

    def mend_metadata(self, plan: Plan) -> list[str]:
        """Write each zarr.json that differs from what the plan gives; returns their names."""
        wrong = self.wrong_metadata(plan)
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


def metadata(plan: Plan) -> dict[str, bytes]:
    """Every zarr.json of a run by its name below volume.zarr: a pure function of the plan."""
    kept: dict[str, Any] = {}
    root = zarr.open_group(MemoryStore(kept), mode="w", zarr_format=3)
    for layer in plan.spec.output.layers:
        layout = layout_of(plan, layer)
        ome = ome_attributes(plan, layer) if layout.image else {}
        root.create_group(layer, attributes=ome).create_array(
            "0",
            shape=layout.shape,
            shards=layout.shard,
            chunks=layout.chunks,
            dtype=layout.dtype,
            fill_value=0,
            serializer=BytesCodec(endian="little"),
            # the checksum lies inside the shard: a flipped bit is an error, not a wrong voxel
            compressors=[ZstdCodec(level=plan.spec.output.compression), Crc32cCodec()],
            dimension_names=layout.dimensions,
        )
    return {name: data.to_bytes() for name, data in kept.items()}


def ome_attributes(plan: Plan, layer: str) -> dict[str, Any]:
    """OME-Zarr 0.5 metadata that lays a layer on its source volume, in nanometres."""
    size = plan.info.voxel_size_nm
    first = centre_of(plan.region.start, size, plan.info.origin_nm)
    scale = {"type": "scale", "scale": list(size)}
    shift = {"type": "translation", "translation": list(first)}
    multiscale = {
        "name": layer,
        "axes": [{"name": a, "type": "space", "unit": "nanometer"} for a in AXES],
        "datasets": [{"path": "0", "coordinateTransformations": [scale, shift]}],
    }
    return {"ome": {"version": "0.5", "multiscales": [multiscale]}}


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
