"""Measured tilt series in a closed loop: what is lost beside views that ddgm simulates itself.

Tissue wider than the field is seen by a perpendicular detector (ASTRA's kernel, not the one that
reconstructs), and comes back as a measured series. Beside it stand views of the field alone, undone
by the very operator that made them.

    python -m benchmarks.quality.measured fib25/heldout.npy
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddgm.core.geometry import TiltGeometry
from ddgm.core.projectors import MatrixProjector
from ddgm.pipeline.block import measured
from ddgm.pipeline.block.solver import cached_solver
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.opened import tilt_series
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.volumes.box import Box
from ddgm.pipeline.volumes.series.views import View, write_views
from ddgm.pipeline.volumes.volume import VolumeInfo

DEPTH, ROWS, WIDTH, BESIDE = 32, 8, 96, 30
FIRST = (20, 40)  # depth and row: in the validation half
NOISE, ANGLES = 4.1, np.linspace(-60, 60, 61)
METHODS: dict[str, dict[str, Any]] = {
    "ddx": {"name": "ddx", "steps": 8},
    "gradient descent": {"name": "gradient_descent", "gradient_steps": 30},
}
EDGE = 16  # pixels beside which the error is taken once more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path, help=".npy, (z, y, x)")
    tissue = np.load(parser.parse_args().volume, mmap_mode="r")
    z, y = FIRST
    part = np.array(tissue[z : z + DEPTH, y : y + ROWS, : WIDTH + 2 * BESIDE], float)
    x = torch.from_numpy((part - part.mean()) / part.std()).permute(1, 0, 2).float().contiguous()
    field = x[..., BESIDE:-BESIDE].contiguous()
    noise = NOISE * torch.randn(
        ROWS, len(ANGLES), WIDTH, generator=torch.Generator().manual_seed(0)
    )
    alone = x.clone()
    alone[..., :BESIDE] = alone[..., -BESIDE:] = 0
    print(f"mean square error, and {EDGE} pixels from the edges:")
    for name, method in METHODS.items():
        rows = {
            "simulated, field alone": simulated(field, noise, method),
            "measured, field alone": of_series(alone, noise, method),
            "measured, tissue goes on": of_series(x, noise, method),
            "the same, missing bins as 0": of_series(x, noise, method, complete=False),
        }
        for what, made in rows.items():
            off = (made - field).square()
            inside = off[..., EDGE:-EDGE]
            print(f"{name:17} {what:28} {off.mean():.4f} {inside.mean():.4f}", flush=True)


def seen(x: Tensor) -> Tensor:
    """The views of tissue of any width, by a detector as wide as the field."""
    angles = tuple(np.radians(ANGLES).tolist())
    return MatrixProjector(
        TiltGeometry(DEPTH, x.shape[-1], angles, "perpendicular", WIDTH)
    ).forward(x)


def common(method: dict[str, Any]) -> dict[str, Any]:
    """Parts of both specs."""
    return {"method": method, "block": {"slices": ROWS}, "output": {"path": "none"}}


def simulated(field: Tensor, noise: Tensor, method: dict[str, Any]) -> Tensor:
    """Reconstruction of views as `tilts.detector: perpendicular` simulates them."""
    slab = {"thickness": DEPTH, "width_axis": "x", "tilt_axis": "y"}
    tilts = {"count": len(ANGLES), "detector": "perpendicular", "noise": NOISE}
    spec = Spec.model_validate(
        {"source": {"url": "none"}, "slab": slab, "tilts": tilts, **common(method)}
    )
    box = Box((0, 0, 0), (DEPTH, ROWS, WIDTH))
    info = VolumeInfo(box, (16.0, 16.0, 16.0), "uint8", (64, 64, 64), 1, 0)
    solver = cached_solver(make_plan(spec, info))
    return solver.reconstruct(seen(field) + noise, [(0, 0, i) for i in range(ROWS)])


def of_series(x: Tensor, noise: Tensor, method: dict[str, Any], complete: bool = True) -> Tensor:
    """Reconstruction of the same views from a stack on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        stack, views = Path(folder) / "stack.npy", Path(folder) / "views.csv"
        np.save(stack, (seen(x) + noise).permute(1, 0, 2).numpy())
        table = [View(i, float(angle), noise=NOISE) for i, angle in enumerate(ANGLES)]
        write_views(views, table)
        source = {"tilts": str(stack), "views": str(views)}
        source |= {"thickness": DEPTH, "voxel_size_nm": 16}
        spec = Spec.model_validate({"source": source, **common(method)})
        plan = make_plan(spec)
        solver, origins = cached_solver(plan), plan.block(0).origins
        y, bins = measured.sinograms(plan, tilt_series(spec).read(0, ROWS), origins)
        data = measured.completed(solver, y, bins) if complete else y * bins
        side = (plan.solved.width - WIDTH) // 2
        return solver.reconstruct(data, origins)[..., side : side + WIDTH]


if __name__ == "__main__":
    main()
