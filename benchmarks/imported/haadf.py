"""A real tilt series from its files to a picture, as it is and with its centres of mass aligned.

    python -m benchmarks.imported.haadf haadf/HAADF.mrc

Both are imported and reconstructed by gradient descent. The second has an .xf that puts the centre
of mass of each view onto the sine that a rigid thing's goes along, and the profiles along the tilt
axis onto each other: alignment's work, and rough, but enough for one needle in a void.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import zarr
from rich.console import Console

from benchmarks.common import RESULTS
from ddgm.pipeline.importing.beside import Beside
from ddgm.pipeline.importing.imod import read_angles
from ddgm.pipeline.importing.import_series import import_series
from ddgm.pipeline.importing.request import Request
from ddgm.pipeline.run.runner import run_alone
from ddgm.pipeline.spec.yaml_file import load_spec
from ddgm.pipeline.volumes.series.stack import open_stack

BLOCK = 4  # of 32 slices each: in the middle of the needle
VOID = 0.1  # quantile of a view's pixels that is empty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack", type=Path, help="HAADF.mrc, with HAADF.rawtlt beside it")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (a.stack, a.stack.with_suffix(".rawtlt")):
            shutil.copyfile(path, folder / path.name)
        stack = folder / a.stack.name
        xf = folder / "aligned.xf"
        angles = np.radians(read_angles(stack.with_suffix(".rawtlt")))
        stray = write_alignment(np.asarray(open_stack(stack).array, float), angles, xf)
        images = {
            "as it is": reconstructed(stack, folder / "raw.yaml", Beside()),
            "centres of mass aligned": reconstructed(stack, folder / "own.yaml", Beside(xf=xf)),
        }
    Console().print(f"centres of mass stray from their sine by {stray:.1f} pixels (rms)")
    draw(images, RESULTS / "imported-haadf.png")


def write_alignment(views: np.ndarray, angles: np.ndarray, path: Path) -> float:
    """Write IMOD's transforms of views whose tilt axis lies along the rows.

    Returns:
        Root mean square by which the centres of mass stray from a sine, in pixels.
    """
    rows = np.arange(views.shape[1]) - (views.shape[1] - 1) / 2
    mass = [np.clip(view - np.quantile(view, VOID), 0, None) for view in views]
    # turned by 90 degrees, x' = y and y' = -x
    centres = np.array([(m.sum(1) * rows).sum() / m.sum() for m in mass])
    sine = np.stack([np.cos(angles), -np.sin(angles)], 1)
    place, *_ = np.linalg.lstsq(sine, centres, rcond=None)
    stray = sine @ place - centres
    profiles = np.array([m.sum(0)[::-1] / m.sum() for m in mass])
    middle = np.fft.rfft(np.median(profiles, axis=0)).conj()
    along = [int(np.fft.irfft(np.fft.rfft(p) * middle, len(p)).argmax()) for p in profiles]
    half = profiles.shape[1] // 2
    moves = [(half - k) % profiles.shape[1] - half for k in along]
    lines = zip(stray, moves, strict=True)
    path.write_text("".join(f"0 1 -1 0 {dx:.3f} {dy:.3f}\n" for dx, dy in lines))
    return float(np.sqrt((stray**2).mean()))


def reconstructed(stack: Path, out: Path, beside: Beside) -> np.ndarray:
    """The middle slice of a block, (thickness, width), by gradient descent."""
    axis = None if beside.xf else 90.0
    request = Request(
        stack,
        beside,
        axis,
        voxel_size_nm=1.0,
        stain="bright",
        method="gradient_descent",
        thickness=192,
        out=out,
    )
    import_series(request, lambda done, of: None)
    spec = load_spec(out)
    run_alone(spec, BLOCK)
    image = zarr.open_array(f"{spec.output.path}/volume.zarr/reconstruction/0", mode="r")
    return np.asarray(image[:, (BLOCK * 32) + 16])


def draw(images: dict[str, np.ndarray], path: Path) -> None:
    """Draw slices beside each other."""
    figure, axes = plt.subplots(1, len(images), figsize=(10, 4), layout="constrained")
    for axis, (name, image) in zip(axes, images.items(), strict=True):
        axis.imshow(image, cmap="gray", origin="lower")
        axis.set(title=name, xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
