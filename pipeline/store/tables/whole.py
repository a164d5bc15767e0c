"""The blocks of a run that need not be done again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import nan

import numpy as np

from ddgm.pipeline.spec.layout import layout_of, shard_keys
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.store.arrays import VOLUME
from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.tables.ended import EndedBlocks
from ddgm.pipeline.store.tables.index import LedgerIndex


def whole_blocks(
    folder: Folder, plan: Plan, digest: str, keep: bool = False
) -> Iterator[EndedBlocks]:
    """The blocks of a run that are done, each of their shards there with the bytes that it had.

    Args:
        folder: of the run.
        plan: of the run.
        digest: of the run.
        keep: whether to write an index of the ledger, see `LedgerIndex.ended`.
    """
    layers = plan.spec.output.layers
    layouts = {layer: layout_of(plan, layer) for layer in layers}
    for ended in LedgerIndex(folder, digest, plan.block_count).ended(keep):
        recorded = ended.groups["sizes"]
        good = np.ones(len(ended.block), bool)
        for other in recorded.keys() - layouts.keys():
            good &= np.isnan(recorded[other])
        for layer, layout in layouts.items():
            names = [f"{VOLUME}/{layer}/0/{key}" for key in shard_keys(plan, layout, ended.block)]
            good &= np.array(folder.sizes(names), float) == recorded.get(layer, nan)
        yield replace(ended.where(good), failed=())
