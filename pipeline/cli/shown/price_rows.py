"""The line of `ddgm plan` on what a run costs in money."""

from __future__ import annotations

from math import ceil, prod

import numpy as np
import torch

from ddgm.pipeline.block.timing import RunTime
from ddgm.pipeline.spec.cost.fetch import fetch_bytes
from ddgm.pipeline.spec.levels import bytes_to_write
from ddgm.pipeline.spec.plan import Plan
from ddgm.pipeline.terminal import Row


def price_rows(plan: Plan, cost: RunTime) -> list[Row]:
    """Line on the price of the method's time, as on this machine, and of bytes before compression.

    No line where the spec has no prices.
    """
    spec = plan.spec
    if spec.prices is None:
        return []
    method, read = cost.slice * plan.slice_count, fetch_bytes(plan).touched
    on_gpu = torch.cuda.is_available()
    chunk = prod(plan.info.chunk_shape) * np.dtype(plan.info.dtype).itemsize
    used = {
        "core": 0.0 if on_gpu else method * spec.cluster.threads,
        "gpu": method if on_gpu else 0.0,
        "read": read,
        "requests": ceil(read / chunk),
        "written": bytes_to_write(plan),
    }
    paid = spec.prices.of(used)
    parts = ", ".join(f"{name} {price:.3g}" for name, price in paid.items() if price)
    text = f"{sum(paid.values()):.3g}: {parts or 'nothing has a price'}; the method alone"
    return [Row("price, bytes uncompressed", text, {"price": sum(paid.values()), "prices": paid})]
