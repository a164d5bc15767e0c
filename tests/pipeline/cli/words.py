"""A spec as a user writes it, and an error as a user reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_spec(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "spec.yaml"
    path.write_text(json.dumps(data))  # JSON is YAML
    return path


def one_line(err: str) -> str:
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err
