"""A run's folder: what belongs into it, how it is made, found again and replaced.

RUN/run.json                  what was asked for and with what, written before any block
RUN/volume.zarr/LAYER/0       one sharded array per layer; a block is one shard of each
RUN/volume.zarr/LAYER/1, ...  images once more, each level half as fine as the one before
RUN/ledger/000/000042.json    one record per block, put in place after its data
RUN/ledger/levels/1/000/...   the same, for each shard of the coarser levels
RUN/ledger/index/000.npz      a thousand records in one file, where all of them are there
RUN/metrics.parquet           per-slice metrics, gathered at the end
RUN/evaluation.json           scores against true labels, of `ddgm evaluate`
RUN/precomputed/              the reconstruction once more, where the spec asks for it
RUN/driver.json, state.json   who drives the run while it lives, and how it stands
RUN/outcome.json              how its latest start ended
RUN/logs/NAME.jsonl           what each process did
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddgm.core.files import PARTIAL
from ddgm.pipeline.spec.layout import layout_of
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Block, Plan
from ddgm.pipeline.store.arrays import VOLUME, Arrays, DamageError, StoreError, checksum
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.ledger import COARSER, LEDGER, Ledger
from ddgm.pipeline.store.lock import TAKEOVER, is_lock
from ddgm.pipeline.store.manifest import differing, levels_of
from ddgm.pipeline.store.sealed import DamagedError, seal, unseal
from ddgm.pipeline.terminal import console

MANIFEST = "run.json"
PRECOMPUTED = "precomputed"
EVALUATION = "evaluation.json"
HALVES = "halves.json"
OUTCOME = "outcome.json"
# what a run's folder may hold: anything else is somebody's, and the folder is left alone
OWN = {
    VOLUME, MANIFEST, LEDGER, "metrics.parquet", "report.html", "preview.png", "driver.json",
    "state.json", OUTCOME, "logs", "slurm", PRECOMPUTED, EVALUATION, HALVES,
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """Checksums and sizes of a block that was written.

    Attributes:
        checksums: of the data, by layer.
        sizes: bytes of the shards, by layer.
    """

    checksums: dict[str, str]
    sizes: dict[str, int]


@dataclass(frozen=True)
class RunStore:
    """One run's folder. Pickles as its path and opens itself where it is used."""

    root: str

    @property
    def folder(self) -> Folder:
        """The folder, for its small files."""
        return Folder(self.root)

    @property
    def ledger(self) -> Ledger:
        """The records of its blocks."""
        return Ledger(self.folder)

    @property
    def arrays(self) -> Arrays:
        """The layers that are written."""
        return Arrays(self.folder)

    def manifest(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            StoreError: there is no run here, or its run.json is not as it was written.
        """
        data = self.folder.read(MANIFEST)
        if data is None:
            raise StoreError(f"{self.root}: no run.json; give the folder of a run of `ddgm run`")
        try:
            content = unseal(data)
            if isinstance(content.get("digest"), str):
                return content
            raise DamagedError("it is another version's")
        except DamagedError as error:
            raise DamageError(
                f"{self.root}/run.json cannot be used: {error}; put the right one back, or move "
                "it away and start the run anew with --overwrite"
            ) from error

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write run.json, under a checksum."""
        self.folder.write(MANIFEST, seal(manifest, indent=2))

    def check(self, manifest: Mapping[str, Any], overwrite: bool = False) -> bool:
        """True if there is an earlier start of this run to continue; writes nothing.

        Raises:
            StoreError: the folder belongs to another spec, or holds something else.
        """
        names = self.folder.names("")
        if others := [name for name in names if _own_name(name) not in OWN]:
            raise StoreError(
                f"output.path: {self.root} holds {others[0]!r}, which is no part of a run; "
                "choose another folder"
            )
        if MANIFEST not in names:
            self._check_remains(names, overwrite)
            return False
        theirs, ours = self.manifest()["digest"], manifest["digest"]
        if overwrite:
            return False
        if theirs != ours:
            raise StoreError(
                f"output.path: {self.root} belongs to another spec, code or weights: "
                f"{', '.join(differing(self.manifest(), manifest))}; choose another folder, or "
                f"delete the run there ({', '.join(names)}) with --overwrite"
            )
        return True

    def _check_remains(self, names: Sequence[str], overwrite: bool) -> None:
        """Refuse what is there without a run.json, unless ddgm is known to have made it.

        A creation that was cut off leaves no more than arrays without data and the run lock. Of a
        run whose run.json is gone, the ledger tells.
        """
        others = [name for name in names if not self._left_by_a_creation(name)]
        if not others:
            return
        if next(self.ledger.records(), None) is None:
            raise StoreError(
                f"output.path: {self.root} holds {others[0]!r} and no run.json, so nothing says "
                "that ddgm made it; move it away, or choose another folder"
            )
        if not overwrite:
            raise StoreError(
                f"output.path: {self.root} holds {others[0]!r}, and its run.json is gone; "
                f"--overwrite deletes {', '.join(names)} there and starts anew"
            )

    def _left_by_a_creation(self, name: str) -> bool:
        if name == VOLUME:
            return all(_is_metadata(file) for file in self.folder.below(VOLUME))
        if name == "driver.json":
            return is_lock(self.folder)
        return _own_name(name) != name

    def prepare(self, plan: Plan, manifest: Mapping[str, Any], overwrite: bool = False) -> bool:
        """Create the run's arrays and run.json, or find those of an earlier start.

        Of an earlier start, the metadata that the plan gives are written again where they differ,
        and what a kill left half written is removed. The run lock must be held.

        Returns:
            Whether an earlier run is being resumed.

        Raises:
            StoreError: the folder belongs to another spec, or holds something else.
        """
        levels = levels_of(manifest)
        if self.check(manifest, overwrite):
            self._remove_partials()
            for name in self.arrays.mend_metadata(plan, levels):
                console.print(f"{name} is missing or damaged, and written again", markup=False)
            return True
        self._empty()
        self.arrays.mend_metadata(plan, levels)
        self.write_manifest(manifest)  # last: from here on it is a run
        return False

    def _remove_partials(self) -> None:
        """Remove the small files that a kill left half written."""
        thousands = [f"{LEDGER}/{name}" for name in self.folder.names(LEDGER)]
        for level in self.folder.names(f"{LEDGER}/{COARSER}"):
            at = f"{LEDGER}/{COARSER}/{level}"
            thousands += [f"{at}/{name}" for name in self.folder.names(at)]
        for folder in ("", *thousands):
            for name in self.folder.names(folder):
                if PARTIAL.search(name):
                    self.folder.delete(f"{folder}/{name}" if folder else name)

    def _empty(self) -> None:
        """Remove all that `check` has found to be ours; run.json last, which says that it is."""
        names = sorted(self.folder.names(""), key=lambda name: (name == MANIFEST, name))
        alive = {name for name in names if name == "driver.json" or TAKEOVER.search(name)}
        if gone := [name for name in names if name not in alive]:
            console.print(f"removing from {self.root}: {', '.join(gone)}", markup=False)
        for name in gone:
            self.folder.remove(name)

    def write(self, plan: Plan, block: Block, layers: Mapping[Layer, np.ndarray]) -> Written:
        """Write a block's data, which is not done from here until its new record is put."""
        with self.folder.store_errors():  # first: nothing is removed that cannot be written again
            opened = {layer: self.arrays.array(layer, "r+") for layer in layers}
        self.ledger.forget(block.index)
        written = Written({}, {})
        for layer, data in layers.items():
            layout = layout_of(plan, layer)
            written.sizes[layer] = self.arrays.write(opened[layer], layout, block, data)
            written.checksums[layer] = checksum(data)
        return written


def _own_name(name: str) -> str:
    """The name that a file has once it is whole, or of the file that it stands beside."""
    return TAKEOVER.sub("", PARTIAL.sub("", name))


def _is_metadata(path: str) -> bool:
    """True if a file of a volume is a zarr.json, or half of one."""
    return PARTIAL.sub("", path.rsplit("/", 1)[-1]) in ("zarr.json", "zarr")
