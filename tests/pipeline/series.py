"""Measured tilt series for tests: what a perpendicular detector sees of tissue that ddgm simulates.

ASTRA's kernel for such a detector is not the one that reconstructs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors import MatrixProjector
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.volumes.series.views import View, write_views

NOISE = 2.0


def stack_of(
    folder: Path, x: np.ndarray, angles: Sequence[float], columns: int, **views: Any
) -> tuple[str, str]:
    """Files of a stack and its table.

    Args:
        x: normalised tissue, (thickness, rows, width).
        angles: of the views, in degrees.
        columns: of the detector, which sees the middle of the width.
        views: more columns of the table.
    """
    radians = tuple(np.radians(angles).tolist())
    g = TiltGeometry(x.shape[0], x.shape[2], radians, "perpendicular", columns)
    slices = torch.from_numpy(np.ascontiguousarray(x.transpose(1, 0, 2)).astype(np.float32))
    y = MatrixProjector(g).forward(slices)
    y = y + NOISE * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    np.save(folder / "stack.npy", y.permute(1, 0, 2).numpy())
    table = [View(i, angle, noise=NOISE, **views) for i, angle in enumerate(angles)]
    write_views(folder / "views.csv", table)
    return str(folder / "stack.npy"), str(folder / "views.csv")


def series_spec(
    folder: Path, files: tuple[str, str], thickness: int, weights: Path | str, **parts: Any
) -> Spec:
    """A quick spec of a series."""
    tilts, views = files
    data = {
        "source": {"tilts": tilts, "views": views, "thickness": thickness, "voxel_size_nm": 16},
        "prior": {"weights": str(weights), "stride": 24},
        "method": {"name": "gradient_descent", "gradient_steps": 50},
        "block": {"slices": 4, "batch": 4},
        "output": {"path": str(folder / "run"), "dtype": "float32"},
    }
    for name, part in parts.items():
        data[name] = {**data.get(name, {}), **part}
    return Spec.model_validate(data)
