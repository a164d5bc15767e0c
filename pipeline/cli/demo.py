"""The demo's inputs: a volume of procedural neuropil and the spec that reconstructs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from ddgm.core.errors import DdgmError
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.volumes.ingest import ingest

SHAPE = (128, 512, 8)
SLICES = 6  # about a minute on two cores
SEED = 7
SPEC_NAME = "demo.yaml"
NAMES = ("volume", "run", "phantom.npy", SPEC_NAME)  # of a demo: all that is ever removed
MARK = "# Written by `ddgm demo`; run it again with: ddgm run "  # no other file begins so

SPEC = (
    f"{MARK}{{folder}}/{SPEC_NAME} --overwrite\n"
    + """\
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
)


def make_demo(folder: Path) -> Path:
    """Make `folder` anew with a precomputed volume and a spec, whose path is returned.

    Raises:
        DdgmError: the folder holds something that is not a demo's, or is one that we are in.
    """
    _check(folder)
    for name in NAMES:
        _remove(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / SPEC_NAME
    spec.write_text(SPEC.format(folder=folder, absolute=folder.resolve(), slices=SLICES), "utf-8")
    array = folder / "phantom.npy"
    np.save(array, neuropil(SHAPE, SEED))
    ingest(array, f"file://{folder.resolve()}/volume", (16.0, 16.0, 16.0))
    return spec


def _check(folder: Path) -> None:
    """Refuse a folder that is not a demo, nor empty, nor yet to be made."""
    if folder.exists() and not folder.is_dir():
        raise DdgmError(f"--folder: {folder} is a file; choose another folder")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise DdgmError(f"--folder: {folder} holds the current folder; name one below it")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if there and not _is_demo(folder / SPEC_NAME):
        raise DdgmError(
            f"--folder: {folder} is no demo, and holds {there[0]!r}; choose another folder"
        )
    if others := [name for name in there if name not in NAMES]:
        raise DdgmError(
            f"--folder: {folder} holds {others[0]!r}, which is no part of a demo; move it away, or "
            "choose another folder"
        )


def _is_demo(spec: Path) -> bool:
    return spec.is_file() and spec.read_bytes().startswith(MARK.encode())


def _remove(path: Path) -> None:
    """Remove a file or a folder; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
