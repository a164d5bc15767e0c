"""Small real runs for the tests: a phantom in a precomputed volume, and specs that read it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline import cli
from ddgm.pipeline.spec.model import Spec
from ddgm.pipeline.spec.output import Layer
from tests.pipeline.sample_volumes import Triple, write_volume

SHAPE = (64, 140, 16)  # two slabs of 32, six tiles wide, sixteen slices
OFFSET = (10, 20, 7)
CHUNK = (32, 32, 16)
LAYERS: tuple[Layer, ...] = ("reconstruction", "truth", "algebraic", "sinogram")


def phantom_volume(folder: Path, shape: Triple = SHAPE, **options: Any) -> str:
    """A phantom in a precomputed volume below `folder`; returns its URL."""
    options = {"chunk": CHUNK, "offset": OFFSET, "voxel_size_nm": (16, 16, 16)} | options
    return write_volume(folder, neuropil(shape, seed=3), **options)


def spec_data(
    url: str, output: Path | str, weights: Path, **parts: dict[str, Any]
) -> dict[str, Any]:
    """A quick spec, as YAML would give it; `parts` are merged over its own, part by part."""
    data: dict[str, dict[str, Any]] = {
        "source": {"url": url},
        "slab": {"thickness": 32},
        "tilts": {"count": 24},
        "prior": {"weights": str(weights), "stride": 24, "batch": 8},
        "method": {"name": "ddgm", "steps": 3, "gradient_steps": 5},
        "algebraic": {"gradient_steps": 20},
        "output": {"path": str(output), "layers": list(LAYERS), "chunks": [16, 16, 16]},
        "block": {"slices": 4, "batch": 4},
        "cluster": {"kind": "local", "workers": 1, "memory": "4GiB"},
    }
    for name, part in parts.items():
        data[name] = {**data.get(name, {}), **part}
    return data


def small_spec(url: str, output: Path | str, weights: Path, **parts: dict[str, Any]) -> Spec:
    """`spec_data`, checked."""
    return Spec.model_validate(spec_data(url, output, weights, **parts))


def layer(root: Path, name: str, level: int = 0) -> np.ndarray:
    """A whole layer, read by a zarr implementation that is not ours nor zarr-python's."""
    path = str(root / "volume.zarr" / name / str(level))
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    return np.asarray(tensorstore.open(spec).result().read().result())


def layers(root: Path) -> dict[str, bytes]:
    """The bytes of every layer, and of the coarser levels of those that have any."""
    found = sorted((root / "volume.zarr").glob("*/[0-9]"))
    names = [(path.parent.name, int(path.name)) for path in found]
    return {
        f"{name}/{level}" if level else name: layer(root, name, level).tobytes()
        for name, level in names
    }


def run_ddgm(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of `ddgm` with these words, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ddgm", *map(str, words)])
        patch.setenv("PYTHONSAFEPATH", "1")  # `main` sets it, and it ends with the context
        for handler in logging.getLogger().handlers:  # so it is with their levels
            patch.setattr(handler, "level", handler.level)
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err
