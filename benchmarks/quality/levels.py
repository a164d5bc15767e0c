"""Gain, offset and noise put into views of real tissue, and found again.

    python -m benchmarks.quality.levels fib25/heldout.npy

Each slab is 64 voxels thick, and goes on to both sides mirrored, as tissue does beside a field of
view. Rays are strips, not those that reconstruct.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report
from ddgm.core.geometry import TiltGeometry
from ddgm.core.metrics.levels import fit_levels
from ddgm.core.metrics.tissue import load_tissue
from ddgm.core.networks.prior import read_card
from ddgm.core.projectors.ray_sums import ray_sums

THICKNESS, COLUMNS = 64, 156
ANGLES = np.radians(np.linspace(-60, 60, 31))
GAIN, OFFSET = 37.0, 900.0
NOISES = 2.0, 4.1, 12.0
UNEQUAL = 0.07, 0.15
AXES = {
    "z": (0, 1, 2),
    "y": (1, 0, 2),
    "x": (2, 0, 1),
}  # of the beam at tilt 0, the axis, the width
NOTES = """
`gain` and `noise`: found over put in; `gain error`: its standard error, over the gain, which leaves
out how far this slab's contrast is from the prior's tissue; `scatter`: of the noise, over views.
`offset`: root mean square of found less put in, over its standard error. With `unequal gains` each
view's gain was off by so much, drawn at random: `gain scatter` is what is left of that.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("array", type=Path, help="a .npy volume, (z, y, x)")
    parser.add_argument("--prior", default="small", help="by name or path")
    a = parser.parse_args()
    x = read_card(a.prior).intensity.normalised(np.load(a.array, allow_pickle=False))
    rows = []
    for name, axes in AXES.items():
        slab = x.transpose(axes)
        for start in (0, slab.shape[0] - THICKNESS):
            sums = views_of(slab[start : start + THICKNESS])
            place = {"beam": name, "from": start}
            rows += [{**place, **found(sums, noise, 0.0, a.prior)} for noise in NOISES]
            rows += [{**place, **found(sums, NOISES[1], off, a.prior)} for off in UNEQUAL]
    report("levels", f"Grey levels of views, found: {a.array.name}", rows, NOTES)


def views_of(slab: np.ndarray) -> np.ndarray:
    """Ax of a slab (thickness, rows, columns) that goes on to both sides, as `read` gives it."""
    wide = np.concatenate([slab, slab[..., ::-1]] * 2, axis=2)
    slices = np.ascontiguousarray(wide.transpose(1, 0, 2), np.float32)
    geometry = TiltGeometry(THICKNESS, wide.shape[2], tuple(ANGLES), "perpendicular", COLUMNS)
    return ray_sums(slices, geometry, "strip").transpose(1, 0, 2)


def found(sums: np.ndarray, noise: float, unequal: float, prior: str) -> dict[str, Any]:
    """Levels of noisy views, over those that were put in."""
    rng = np.random.default_rng(0)
    gains = GAIN * np.exp(unequal * rng.standard_normal(len(sums)))
    y = sums + noise * rng.standard_normal(sums.shape)
    y = gains[:, None, None] * y + OFFSET
    levels = fit_levels(
        lambda start, stop: y[:, start:stop],
        y.shape[1],
        ANGLES.tolist(),
        THICKNESS,
        load_tissue(prior),
    )
    gain, spread = levels.gain / gains, levels.noise * levels.gain / gains / noise
    off = (levels.offset - OFFSET) / levels.offset_error
    return {
        "noise put in": noise,
        "unequal gains": f"{100 * unequal:g} %",
        "gain": float(np.exp(np.log(gain).mean())),
        "gain error": float((levels.gain_error / levels.gain).mean()),
        "gain scatter": round(float(np.log(gain).std()), 6),
        "noise": float(spread.mean()),
        "scatter": float(spread.std()),
        "offset": float(np.sqrt((off**2).mean())),
    }


if __name__ == "__main__":
    main()
