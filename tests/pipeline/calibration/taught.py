"""Specs of a phantom that a calibration is learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.pipeline.runs import spec_data

TAUGHT = {"z": [10, 42], "y": [20, 84], "x": [7, 21]}  # 14 slices, 13 of which 0.9 needs
OTHERS = {"z": [10, 42], "y": [84, 148], "x": [7, 21]}
METHOD = {"name": "ddx", "steps": 2, "samples": 2}


def data(url: str, out: Path, weights: Path, **parts: Any) -> dict[str, Any]:
    found = spec_data(url, out, weights, block={"slices": 14, "batch": 7})
    found["source"]["box"] = TAUGHT
    found["output"] |= {"dtype": "float32", "layers": ["reconstruction", "truth", "spread"]}
    found["method"] = METHOD
    for name, part in parts.items():
        both = isinstance(part, dict) and name in found and name != "method"
        found[name] = {**found[name], **part} if both else part
    return found
