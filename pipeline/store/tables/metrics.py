"""The table of metrics of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan

import numpy as np

from ddgm.pipeline.store.files import Folder
from ddgm.pipeline.store.tables.ended import EndedBlocks

METRICS = "metrics.parquet"


def write_metrics(folder: Folder, columns: Sequence[str], ended: Iterable[EndedBlocks]) -> int:
    """Gather these per-slice metrics of blocks that are done into metrics.parquet.

    Returns:
        How many blocks are done.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = "block", "slice"
    names = ["block", *columns]
    schema = pa.schema([(n, pa.int64() if n in whole else pa.float64()) for n in names])
    count = 0
    with folder.writing(METRICS) as file, pq.ParquetWriter(file, schema) as writer:
        for some in ended:
            count += len(some.block)
            found = {"block": some.slice_block, **some.metrics}
            none = np.full(len(some.slice_block), nan)
            table = [
                pa.array(found.get(field.name, none), field.type, from_pandas=True, safe=False)
                for field in schema
            ]
            if len(some.block):
                writer.write_table(pa.Table.from_arrays(table, schema=schema))
    return count
