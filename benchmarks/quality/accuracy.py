"""DDGM against gradient descent at its best K, on an array nobody trained on, as a whole run.

    python -m benchmarks.quality.accuracy fib25/heldout.npy

Ingests the array, runs a spec for each detector through the pipeline (all slices along x), and
scores gradient descent over a grid of K on the same measurements.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.common import RESULTS, report
from ddgm.core.geometry import Detector
from ddgm.core.metrics import scores as metrics
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.block.solver import cached_solver
from ddgm.pipeline.cli.shown.progress import RunProgress
from ddgm.pipeline.report.write import write_report
from ddgm.pipeline.run.runner import run
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.store.manifest import plan_of
from ddgm.pipeline.store.run_store import RunStore
from ddgm.pipeline.volumes.ingest import ingest
from ddgm.pipeline.volumes.opening import open_volume

GRID = (10, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--detectors", nargs="+", default=["lateral", "perpendicular"])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--slices", type=int, help="only the first ones along x")
    a = parser.parse_args()
    volume = a.folder.resolve() / "volume"
    if not volume.exists():
        ingest(a.array, f"file://{volume}", (16.0, 16.0, 16.0))
    rows = []
    for detector in a.detectors:
        spec = make_spec(volume, a.folder / detector, detector, a.precision, a.slices)
        with RunProgress(Console()) as progress:
            summary = run(spec, progress)
        assert not summary.failed
        write_report(spec.output.path)
        shutil.copy(a.folder / detector / "preview.png", RESULTS / f"accuracy-{detector}.png")
        rows += compare(spec.output.path, detector)
    report(
        "accuracy",
        f"DDGM (N = 50, K = 25) on `{a.array.name}`: 128 x 156, tilt axis x, σ_y = 4.1",
        rows,
        "Errors are standard errors over slices; neighbouring slices are alike, so they are too "
        "small by some factor. `ratio`: DDGM's mean MSE over that of gradient descent at its "
        "best K.",
    )


def make_spec(volume: Path, out: Path, detector: str, precision: str, slices: int | None) -> Spec:
    """All slices along x of the volume's one slab."""
    source: dict[str, Any] = {"url": f"precomputed://file://{volume}"}
    bounds = open_volume(source["url"], 0).info.bounds
    stop = bounds.stop[2] if slices is None else bounds.start[2] + slices
    spans = zip("zyx", bounds.start, (*bounds.stop[:2], stop), strict=True)
    source["box"] = {axis: (start, end) for axis, start, end in spans}
    return Spec.model_validate(
        {
            "source": source,
            "tilts": {"detector": detector},
            "prior": {"batch": 8, "precision": precision},
            "block": {"slices": 8, "batch": 8},
            "output": {
                "path": str(out),
                "layers": ["reconstruction", "truth", "algebraic", "sinogram"],
            },
        }
    )


@torch.inference_mode()
def compare(root: str, detector: Detector) -> list[dict[str, Any]]:
    """Rows of DDGM, of gradient descent at each K of the grid, and their ratio at the best."""
    store = RunStore(root)
    manifest = store.manifest()
    plan = plan_of(manifest)
    scores = [m for r in store.ledger.records() for m in r.metrics]
    ddgm_mse, ddgm_ssim, residual = (
        torch.tensor([m[k] for m in scores]) for k in ("mse", "ssim", "residual")
    )
    solver = cached_solver(plan)
    grey = grey_scale(plan)
    step = plan.spec.algebraic.step.size(solver.projector.norm)
    means = dict.fromkeys(GRID, 0.0)
    ssims = dict.fromkeys(GRID, 0.0)
    for block in plan.blocks():
        voxels = store.arrays.read(plan, "truth", block).transpose(plan.axes)
        truth = torch.from_numpy(grey.normalised(voxels))
        y = torch.from_numpy(store.arrays.read(plan, "sinogram", block)[0])
        x, before = torch.zeros_like(truth), 0
        for k in GRID:
            if detector == "lateral":  # one product, which crops: it does not compose
                x, before = torch.zeros_like(truth), 0
            x, before = solver.projector.gradient_steps(y, step, k - before)(x), k
            means[k] += float(metrics.mse(x, truth).sum()) / plan.slice_count
            ssims[k] += float(metrics.ssim(x, truth).sum()) / plan.slice_count
    best = min(means, key=lambda k: means[k])
    rows: list[dict[str, Any]] = [
        {
            "detector": detector,
            "method": "DDGM N = 50, K = 25",
            "MSE": f"{ddgm_mse.mean():.4f} ± {error(ddgm_mse):.4f}",
            "SSIM": f"{ddgm_ssim.mean():.4f} ± {error(ddgm_ssim):.4f}",
            "residual": float(residual.mean()),
            "ratio": float(ddgm_mse.mean()) / means[best],
        }
    ]
    for k in GRID:
        name = f"gradient descent, K = {k}" + (" (best)" if k == best else "")
        rows.append(
            {
                "detector": detector,
                "method": name,
                "MSE": f"{means[k]:.4f}",
                "SSIM": f"{ssims[k]:.4f}",
            }
        )
    return rows


def error(values: torch.Tensor) -> float:
    """Standard error of the mean."""
    return float(values.std() / len(values) ** 0.5)


if __name__ == "__main__":
    main()
