"""The demo's inputs: a volume of procedural neuropil and the spec that reconstructs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from ddgm_core.errors import DdgmError
from ddgm_core.phantom import neuropil
from pipeline.ingest import ingest

SHAPE = (128, 512, 8)
SLICES = 6  # about a minute on two cores
SEED = 7
MARK = "demo.yaml"

SPEC = """\
# Written by `ddgm demo`; run it again with: ddgm run {folder}/demo.yaml --overwrite
source:
  url: precomputed://file://{absolute}/volume
  box: {{z: [0, 128], y: [0, 512], x: [0, {slices}]}}
output:
  path: {folder}/run
  layers: [reconstruction, truth, algebraic, sinogram]
slab: {{thickness_axis: z, width_axis: y, tilt_axis: x}}
tilts: {{count: 128, range: [-60, 60], detector: lateral, noise: 4.1, seed: 0}}
prior: {{weights: small, batch: 5}}  # a slice of 512 pixels is five patches
method: {{name: ddgm, steps: 50, gradient_steps: 25, sigma: [3.0, 0.03], seed: 0}}
block: {{slices: 1, batch: 1}}
cluster: {{kind: local, workers: 2, threads: 1, memory: 4GiB}}
"""


def make_demo(folder: Path) -> Path:
    """Make `folder` anew with a precomputed volume and a spec, whose path is returned.

    Raises:
        DdgmError: the folder holds something that is not a demo.
    """
    if folder.is_file():
        raise DdgmError(f"--folder: {folder} is a file; choose another folder")
    if folder.exists() and not (folder / MARK).exists() and any(folder.iterdir()):
        raise DdgmError(f"--folder: {folder} is not empty and no demo; choose another folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = folder / MARK
    spec.write_text(SPEC.format(folder=folder, absolute=folder.resolve(), slices=SLICES))
    array = folder / "phantom.npy"
    np.save(array, neuropil(SHAPE, SEED))
    ingest(array, f"file://{folder.resolve()}/volume", (16.0, 16.0, 16.0))
    return spec
