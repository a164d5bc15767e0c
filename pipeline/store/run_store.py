"""A run's folder: the zarr volume (OME-Zarr 0.5), run.json, and the ledger of blocks.

RUN/run.json                  what was asked for and with what, written before any block
RUN/volume.zarr/LAYER/0       one sharded array per layer; a block is one shard of each
RUN/ledger/000/000042.json    one record per block, put in place after its data
RUN/metrics.parquet           per-slice metrics, gathered at the end
RUN/driver.json, state.json   who drives the run while it lives, and how it stands
RUN/logs/NAME.jsonl           what each process did
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from ddgm.core.errors import DdgmError
from ddgm.pipeline.spec.model import Layer
from ddgm.pipeline.spec.plan import AXES, Block, Plan
from ddgm.pipeline.store.files import OPTIONS, Folder
from ddgm.pipeline.store.ledger import Record
from ddgm.pipeline.store.lock import is_lock
from ddgm.pipeline.store.manifest import differing
from ddgm.pipeline.terminal import console
from ddgm.pipeline.volumes.coordinates import centre_of

VOLUME = "volume.zarr"
ROW_GROUP = 1000  # blocks whose metrics are in memory at once
# what a run's folder may hold: anything else is somebody's, and the folder is left alone
OWN = {
    VOLUME, "run.json", "ledger", "metrics.parquet", "report.html", "preview.png", "driver.json",
    "state.json", "logs", "slurm",
}  # fmt: skip
PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")  # what a small file is called until it is whole


class StoreError(DdgmError):
    """An output folder that cannot be used as asked."""


@dataclass(frozen=True)
class RunStore:
    """One run's folder. Pickles as its path and opens itself where it is used."""

    root: str

    @property
    def folder(self) -> Folder:
        """The folder of the small files."""
        return Folder(self.root)

    # run.json

    def manifest(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            StoreError: there is no run here.
        """
        data = self.folder.read("run.json")
        if data is None:
            raise StoreError(f"{self.root}: no run.json; give the folder of a run of `ddgm run`")
        try:
            manifest = json.loads(data)
            if not {"digest", "spec"} <= manifest.keys():
                raise KeyError("digest, spec")
        except (ValueError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{self.root}/run.json is not one that ddgm wrote ({error})"
            ) from error
        return manifest

    def check(self, manifest: Mapping[str, Any], overwrite: bool = False) -> bool:
        """True if there is an earlier start of this run to continue; writes nothing.

        Raises:
            StoreError: the folder belongs to another spec, or holds something else.
        """
        names = self.folder.names("")
        if others := [name for name in names if PARTIAL.sub("", name) not in OWN]:
            raise StoreError(
                f"output.path: {self.root} holds {others[0]!r}, which is no part of a run; "
                "choose another folder"
            )
        if "run.json" not in names:
            self._check_remains(names, overwrite)
            return False
        theirs, ours = self.manifest()["digest"], manifest["digest"]
        if overwrite:
            return False
        if theirs != ours:
            raise StoreError(
                f"output.path: {self.root} belongs to another spec, code or weights: "
                f"{', '.join(differing(self.manifest(), manifest))}; choose another folder, or "
                "replace it with --overwrite"
            )
        return True

    def _check_remains(self, names: Sequence[str], overwrite: bool) -> None:
        """Refuse what is there without a run.json, unless ddgm is known to have made it.

        A creation that was cut off leaves no more than arrays without data and the driver's
        lock. Of a run whose run.json is gone, the ledger tells.
        """
        others = [name for name in names if not self._left_by_a_creation(name)]
        if not others:
            return
        if next(self.records(), None) is None:
            raise StoreError(
                f"output.path: {self.root} holds {others[0]!r} and no run.json, so nothing says "
                "that ddgm made it; move it away, or choose another folder"
            )
        if not overwrite:
            raise StoreError(
                f"output.path: {self.root} holds {others[0]!r}, and its run.json is gone; "
                "--overwrite starts anew"
            )

    def _left_by_a_creation(self, name: str) -> bool:
        if name == VOLUME:
            return all(_is_metadata(file) for file in self.folder.below(VOLUME))
        if name == "driver.json":
            return is_lock(self.folder)
        return PARTIAL.search(name) is not None

    def prepare(self, plan: Plan, manifest: Mapping[str, Any], overwrite: bool = False) -> bool:
        """Create the run's arrays and run.json, or find those of an earlier start.

        Of an earlier start, the metadata that the plan gives are written again where they differ.

        Returns:
            Whether an earlier run is being resumed.

        Raises:
            StoreError: the folder belongs to another spec, or holds something else.
        """
        if self.check(manifest, overwrite):
            for name in self.mend_metadata(plan):
                console.print(f"{name} is missing or damaged, and written again", markup=False)
            return True
        self._empty()
        self.mend_metadata(plan)
        # last: from here on it is a run
        self.folder.write("run.json", json.dumps(manifest, indent=2).encode())
        return False

    def _empty(self) -> None:
        """Remove all that `check` has found to be ours; run.json last, which says that it is."""
        removed = []
        for name in sorted(self.folder.names(""), key=lambda name: (name == "run.json", name)):
            if name != "driver.json":  # ours, and alive
                self.folder.remove(name)
                removed.append(name)
        if removed:
            console.print(f"removed from {self.root}: {', '.join(removed)}", markup=False)

    # metadata

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

    # data

    def array(self, layer: str, mode: str = "r") -> zarr.Array:
        """A layer's array. With mode `r+`, all-zero chunks are written like any other."""
        # not open_array's `config`: zarr 3.1.6 passes over it for an array that exists (measured)
        with zarr.config.set({"array.write_empty_chunks": True}):
            return zarr.open_array(**self._zarr(f"{VOLUME}/{layer}/0"), mode=mode)  # type: ignore[arg-type]

    def write(self, plan: Plan, block: Block, layers: Mapping[Layer, np.ndarray]) -> dict[str, str]:
        """Write a block, one whole shard of each layer; returns each layer's checksum."""
        with self.folder.store_errors():  # before anything is removed
            arrays = {layer: self.array(layer, "r+") for layer in layers}
        self.forget(block.index)  # from here until its new record, the block is not done
        for layer, data in layers.items():
            self.folder.delete(self._shard_name(plan, layer, block))  # a torn one blocks rewriting
            with self.folder.store_errors():
                arrays[layer][plan.layer_index(layer, block)] = data
        return {layer: checksum(data) for layer, data in layers.items()}

    def read(self, plan: Plan, layer: Layer, block: Block) -> np.ndarray:
        """A block of a layer as it was written.

        Raises:
            StoreError: its shard is missing, empty or damaged (zarr alone would return zeros
                for one that is missing or empty).
        """
        name = self._shard_name(plan, layer, block)
        if not self.folder.size(name):
            raise StoreError(f"{name} is missing or empty")
        try:
            with self.folder.store_errors():
                return np.asarray(self.array(layer)[plan.layer_index(layer, block)])
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(f"{name} is damaged ({error})") from error

    def _shard_name(self, plan: Plan, layer: Layer, block: Block) -> str:
        index, shard = plan.layer_index(layer, block), plan.layer_shard(layer)
        key = "/".join(str(i.start // n) for i, n in zip(index, shard, strict=True))
        return f"{VOLUME}/{layer}/0/c/{key}"

    def _zarr(self, name: str) -> dict[str, Any]:
        """Location of an array or group, as zarr's functions take it."""
        if local := self.folder.local_path(name):
            return {"store": local}
        return {"store": f"{self.root.rstrip('/')}/{name}", "storage_options": OPTIONS}

    # ledger

    def put(self, record: Record) -> None:
        """Put a block's record in place, atomically; the data must be there before."""
        self.folder.write(_record_name(record.block), record.to_json())

    def record(self, block: int) -> Record | None:
        """A block's record, if it has one that can be read."""
        data = self.folder.read(_record_name(block))
        return None if data is None else Record.from_json(data)

    def records(self) -> Iterator[Record]:
        """All records that can be read, in no more memory than a thousand of them take."""
        for thousand in self.folder.names("ledger"):
            names = self.folder.names(f"ledger/{thousand}")
            # others end on .partial: half of one
            whole = [f"ledger/{thousand}/{name}" for name in names if name.endswith(".json")]
            for data in self.folder.read_all(whole):
                if (record := Record.from_json(data)) is not None:
                    yield record

    def write_metrics(self, columns: Sequence[str]) -> None:
        """Gather these per-slice metrics of all finished blocks into metrics.parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"block": pa.int64(), "slice": pa.int64()}
        names = ["block", *columns]
        schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
        done = (r for r in self.records() if r.state == "done")
        with (
            self.folder.writing("metrics.parquet") as file,
            pq.ParquetWriter(file, schema) as writer,
        ):
            while some := list(islice(done, ROW_GROUP)):
                rows = [{"block": r.block, **row} for r in some for row in r.metrics]
                writer.write_table(pa.Table.from_pylist(rows, schema))

    def forget(self, block: int) -> None:
        """Remove a block's record, so that the next run does the block again."""
        self.folder.delete(_record_name(block))


def metadata(plan: Plan) -> dict[str, bytes]:
    """Every zarr.json of a run by its name below volume.zarr: a pure function of the plan."""
    kept: dict[str, Any] = {}
    root = zarr.open_group(MemoryStore(kept), mode="w", zarr_format=3)
    for layer in plan.spec.output.layers:
        image = layer != "sinogram"
        group = root.create_group(layer, attributes=ome_attributes(plan, layer) if image else {})
        group.create_array(
            "0",
            shape=plan.layer_shape(layer),
            shards=plan.layer_shard(layer),
            chunks=plan.layer_chunks(layer),
            dtype=plan.spec.output.dtype_of(layer),
            fill_value=0,
            serializer=BytesCodec(endian="little"),
            # the checksum lies inside the shard: a flipped bit is an error, not a wrong voxel
            compressors=[ZstdCodec(level=plan.spec.output.compression), Crc32cCodec()],
            dimension_names=tuple(AXES) if image else ("slab", "slice", "view", "bin"),
        )
    return {name: data.to_bytes() for name, data in kept.items()}


def _same_json(found: bytes | None, wanted: bytes) -> bool:
    """True if two JSON files have the same content, however they are laid out."""
    try:
        return found is not None and json.loads(found) == json.loads(wanted)
    except (ValueError, RecursionError):
        return False


def _is_metadata(path: str) -> bool:
    """True if a file of a volume is a zarr.json, or half of one."""
    return PARTIAL.sub("", path.rsplit("/", 1)[-1]) == "zarr.json"


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


def _record_name(block: int) -> str:
    return f"ledger/{block // 1000:03d}/{block:06d}.json"  # few enough in a folder to list quickly
