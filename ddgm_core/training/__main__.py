"""Train a prior on .npy volumes: python -m ddgm_core.training --help."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ddgm_core.phantom import neuropil
from ddgm_core.training.data import Volume
from ddgm_core.training.fit import Recipe, fit
from ddgm_core.unet import Architecture, UNet, parameter_count

PHANTOM = ((192, 192, 192), 1)  # shape and seed of the phantom that is mixed in


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ddgm_core.training", description=__doc__)
    parser.add_argument("volumes", nargs="+", type=Path, help=".npy arrays, (z, y, x), uint8")
    parser.add_argument("--out", type=Path, required=True, help="folder; resumes if it exists")
    parser.add_argument("--origin", required=True, help="data and licence, for the card")
    parser.add_argument("--validation", type=Path, help=".npy never trained on")
    parser.add_argument("--phantom", type=float, default=0.0, help="share of phantom patches")
    parser.add_argument("--width", type=int, default=128, help="feature maps")
    parser.add_argument("--steps", type=int, default=380_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()

    real = [np.load(p, mmap_mode="r", allow_pickle=False) for p in a.volumes]
    voxels = sum(v.size for v in real)
    volumes = [
        Volume(p.name, v, (1 - a.phantom) * v.size / voxels)
        for p, v in zip(a.volumes, real, strict=True)
    ]
    if a.phantom:
        volumes.append(Volume("phantom", neuropil(*PHANTOM), a.phantom))
    recipe = Recipe(Architecture(width=a.width), steps=a.steps, batch=a.batch, seed=a.seed)
    print(f"{parameter_count(UNet(recipe.architecture)):,} parameters")
    held = None if a.validation is None else np.load(a.validation, allow_pickle=False)
    print(f"wrote {fit(recipe, volumes, real, a.out, a.origin, held)}")


if __name__ == "__main__":
    main()
