"""A loop through files that ddgm did not write, against the same tilts simulated inside.

    python -m benchmarks.imported.loop fib25/heldout.npy --method ddx

A microscope that knows nothing of ddgm (float64 sums of IMOD's formula, another kernel, a camera
that is turned and shifts from view to view, noise) writes a stack, an .xf and a .tlt. `ddgm import`
makes a spec of them, and the spec is run. Inside, the same slices are projected by the solver's own
A, with white noise of the same strength, and lose the same bins. Tissue goes on beside the field,
mirrored; its mean is 0, since views cannot tell one from an offset.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import torch
import zarr

from benchmarks.common import report
from benchmarks.imported.microscope import projections, raw_views, tilted
from ddgm.core.networks.prior import read_card
from ddgm.core.projectors.fourier import FourierProjector
from ddgm.pipeline.block import measured
from ddgm.pipeline.block.solver import cached_solver
from ddgm.pipeline.importing.import_series import import_series
from ddgm.pipeline.importing.request import Request
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.plan import make_plan
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.volumes.series.views import read_views, write_views

ROWS, WIDTH, BESIDE, THICKNESS = 160, 288, 150, 64  # voxels
ANGLES = np.linspace(-60, 60, 61)
GAIN, OFFSET, NOISE = 25.0, 1000.0, 4.1
NOTES = """
MSE over the field's middle 156 columns, in normalised units, of the same slices; `scored without
scale` of the measured run's, once its grey levels are brought to the truth's by a line: what it
loses by the gain and the offset that the views were taken to have.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path, help="a .npy volume, (z, y, x); z below 78 is used")
    parser.add_argument("--method", default="ddx")
    parser.add_argument("--slices", type=int, default=8)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = closed_loop(a.array, Path(folder), a.method, a.slices)
    report("imported", "A measured series and the same simulated", [row], NOTES)


def closed_loop(array: Path, folder: Path, method: str, slices: int) -> dict[str, Any]:
    """MSE of a series that was imported, and of the same simulated inside."""
    truth = _tissue(array)
    _microscope(truth, folder)
    start = (ROWS - slices) // 2
    spec = _imported(folder, method, start, slices)
    run_alone(spec, 0)
    card = read_card("small")
    layer = zarr.open_array(f"{spec.output.path}/volume.zarr/reconstruction/0", mode="r")
    found = card.intensity.normalised(np.asarray(layer[:])).swapaxes(0, 1)
    first = (truth.shape[1] - ROWS) // 2 + start
    x = truth[:, first : first + slices].swapaxes(0, 1).astype(np.float32)
    inside = _inside(spec, x, folder)
    middle = slice((WIDTH - 156) // 2, (WIDTH + 156) // 2)
    own = x[..., BESIDE : BESIDE + WIDTH][..., middle]
    lined = np.polyval(np.polyfit(found[..., middle].ravel(), own.ravel(), 1), found[..., middle])
    return {
        "method": method,
        "measured": float(((found[..., middle] - own) ** 2).mean()),
        "scored without scale": float(((lined - own) ** 2).mean()),
        "inside": float(((inside[..., middle] - own) ** 2).mean()),
    }


def _tissue(array: Path) -> np.ndarray:
    """A slab (z, y, x) in the prior's units, which goes on mirrored on all sides but its faces."""
    volume = np.load(array, allow_pickle=False)[:78].transpose(1, 0, 2)
    top = (len(volume) - THICKNESS) // 2
    x = read_card("small").intensity.normalised(volume[top : top + THICKNESS]).astype(float)
    x -= x.mean()
    sides = [n - m for n, m in zip((ROWS + 60, WIDTH + 2 * BESIDE), x.shape[1:], strict=True)]
    pads = [(0, 0), *((n // 2, n - n // 2) for n in sides)]
    return np.pad(x, pads, mode="symmetric")


def _microscope(truth: np.ndarray, folder: Path) -> None:
    """Write a stack and the files that IMOD would have left beside it."""
    draw = np.random.default_rng(0)
    shifts = 3 * draw.normal(size=(len(ANGLES), 2))
    views = [tilted(float(a), -7.0, (x, y)) for a, (x, y) in zip(ANGLES, shifts, strict=True)]
    graded = [replace(view, gain=GAIN, offset=OFFSET) for view in views]
    raw = raw_views(projections(truth, ANGLES.tolist()), graded, (ROWS, WIDTH))
    raw += GAIN * NOISE * draw.normal(size=raw.shape)
    with mrcfile.new(folder / "TS.st") as file:
        file.set_data(raw.astype(np.float32))
        file.set_image_stack()
        file.voxel_size = 160.0
    np.savetxt(folder / "TS.tlt", ANGLES, "%.2f")
    lines = [(v.a11, v.a12, v.a21, v.a22, v.dx, v.dy) for v in views]
    np.savetxt(folder / "TS.xf", lines, "%12.7f")


def _imported(folder: Path, method: str, start: int, slices: int) -> Spec:
    request = Request(folder / "TS.st", thickness=THICKNESS, method=method)
    spec = load_spec(import_series(request, lambda done, total: None).spec)
    box = {"z": (0, THICKNESS), "y": (start, start + slices), "x": (0, WIDTH)}
    source = spec.source.model_copy(update={"box": box})
    block = spec.block.model_copy(update={"slices": slices, "batch": min(8, slices)})
    return spec.model_copy(update={"source": source, "block": block})


def _inside(spec: Spec, x: np.ndarray, folder: Path) -> np.ndarray:
    """What the solver makes of the same slices, (n, thickness, all columns), simulated."""
    assert spec.source.views is not None
    views = read_views(Path(spec.source.views))
    table = folder / "inside.csv"
    write_views(table, [replace(view, gain=1.0, offset=0.0, noise=NOISE) for view in views])
    source = spec.source.model_copy(update={"views": str(table)})
    plan = make_plan(spec.model_copy(update={"source": source}))
    solver, g = cached_solver(plan), plan.solved
    columns = x.shape[-1]
    wide = replace(g, width=columns, bins=columns + 2 * g.reach, noise=())
    beside = (columns - g.width) // 2
    y = FourierProjector(wide).forward(torch.from_numpy(x))[..., beside : beside + g.bins]
    a = FourierProjector(g)
    white = torch.randn(a.whiten(y).shape, generator=torch.Generator().manual_seed(0))
    y = y + a.unwhiten(spec.tilts.noise * white)
    nothing = np.zeros((len(x), g.views, plan.geometry.bins), np.float32)
    origins = plan.block(0).origins
    _, bins = measured.sinograms(plan, nothing, origins)
    found = solver.reconstruct(measured.completed(solver, y * bins, bins), origins)
    side = (g.width - WIDTH) // 2
    return found[..., side : side + WIDTH].numpy()


if __name__ == "__main__":
    main()
