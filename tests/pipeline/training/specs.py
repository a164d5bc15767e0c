"""Small training specs, and volumes to train on."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from ddgm.pipeline.training.spec import TrainingSpec
from ddgm.pipeline.training.train import train
from tests.pipeline.sample_volumes import Triple, grey, write_volume

ORIGIN = "random numbers, made by a test"


def volume(folder: Path, shape: Triple = (20, 40, 36), seed: int = 0, **options: Any) -> str:
    """Noise in a precomputed volume; returns its URL."""
    return write_volume(folder, grey(shape, seed=seed), **options)


def training_data(
    url: str, output: Path | str, data: dict[str, Any] | None = None, **parts: Any
) -> dict[str, Any]:
    """A quick spec, as YAML would give it; mappings in `parts` are merged over its own."""
    spec: dict[str, Any] = {
        "data": {"volumes": [{"url": url}], "origin": ORIGIN, **(data or {})},
        "network": {"width": 8, "levels": 2, "convolutions": 2, "groups": 4},
        "training": {"steps": 12, "batch": 4, "patch": 16, "precision": "float32", "average": 0.9},
        "save_every": 4,
        "output": str(output),
    }
    for name, part in parts.items():
        spec[name] = {**spec.get(name, {}), **part} if isinstance(part, dict) else part
    return spec


def training_spec(
    url: str, output: Path | str, data: dict[str, Any] | None = None, **parts: Any
) -> TrainingSpec:
    """`training_data`, checked."""
    return TrainingSpec.model_validate(training_data(url, output, data, **parts))


def write_spec(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "spec.yaml"
    path.write_text(json.dumps(data))  # JSON is YAML
    return path


def trained(spec: TrainingSpec) -> Path:
    """The folder of a training that was run here."""
    return train(spec, Console(quiet=True)).parent


def rows(path: Path) -> list[dict[str, float]]:
    """Of a table."""
    with path.open() as f:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]


def size(folder: Path) -> int:
    """Bytes of all files of a folder that others write to."""
    total = 0
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
