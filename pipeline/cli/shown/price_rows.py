"""The line of `ddgm plan` on what a run costs in money."""

from __future__ import annotations

from math import ceil, prod

import numpy as np

from ddgm.pipeline.block.timing import RunTime
from ddgm.pipeline.cli.shown.sizing import sizes
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.levels import bytes_to_write
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.terminal import Row


def price_rows(plan: Plan, cost: RunTime) -> list[Row]:
    """Line on the price of machines and of bytes before compression; none without prices.

    Of GPUs and the cores that feed them, where a GPU has a price; else of the method alone, on
    cores like those of this machine.
    """
    spec = plan.spec
    if spec.prices is None:
        return []
    read = fetch_bytes(plan).touched
    chunk = prod(plan.info.chunk_shape) * np.dtype(plan.info.dtype).itemsize
    size = next(sizes(plan), None) if spec.prices.gpu_hour else None
    gpu = size.gpus * size.seconds if size else 0.0
    method = cost.slice * plan.slice_count * spec.cluster.threads
    core = size.cores * size.seconds if size else method
    used = {"core": core, "gpu": gpu, "read": read, "requests": ceil(read / chunk)}
    paid = spec.prices.of({**used, "written": bytes_to_write(plan)})
    parts = ", ".join(f"{name} {price:.3g}" for name, price in paid.items() if price)
    where = "on H100s" if size else "the method alone, as on this machine"
    text = f"{sum(paid.values()):.3g} ({parts or 'nothing has a price'}); {where}"
    return [Row("price, bytes uncompressed", text, {"price": sum(paid.values()), "prices": paid})]
