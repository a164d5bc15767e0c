"""One comparison, from patches to the table and the picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ddgm.core.methods.method import Method
from ddgm.pipeline.evaluation import table
from ddgm.pipeline.evaluation.comparison_request import ComparisonRequest
from ddgm.pipeline.evaluation.measure import SHOWN, Progress, Result, measure
from ddgm.pipeline.evaluation.methods import label
from ddgm.pipeline.store.files import Folder


def benchmark(
    request: ComparisonRequest, methods: Mapping[str, Method], out: Path, progress: Progress
) -> dict[str, Result]:
    """Compare, and write benchmark.json, .md, .png and benchmark-trade.png into `out`.

    A method whose result is there from an earlier start of the same comparison is not run again.

    Args:
        request: what the methods are compared on.
        methods: by name.
        out: made if need be.
        progress: called as progress(done, total), in methods.

    Raises:
        DdgmError: prior, volume, box or methods cannot be used.
    """
    for method in methods.values():
        request.check(method)
    patches, comparison, folder = request.normalised, request.comparison, Folder(str(out))
    results = measure(methods, comparison, patches, folder, progress)
    rows = {name: {"settings": label(methods[name]), **asdict(r)} for name, r in results.items()}
    record = {"trial": asdict(comparison), "methods": rows}
    folder.write("benchmark.json", json.dumps(record, indent=2).encode())
    text = table.markdown(results, methods, comparison, tuple(patches.shape))
    folder.write("benchmark.md", text.encode())
    images = {name: np.load(out / "results" / f"{name}.npy") for name in results}
    folder.write("benchmark.png", table.picture(images, results, patches[:SHOWN].numpy()))
    folder.write("benchmark-trade.png", table.trade(results))
    return results
