"""A finished run to report on, and copies of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imsave

from ddgm.core.networks.prior import PriorCard, save_prior
from ddgm.core.networks.unet import Architecture, UNet
from ddgm.core.simulation.phantom import neuropil
from ddgm.pipeline.figures import Panel
from ddgm.pipeline.report import gallery
from ddgm.pipeline.volumes.ingest import ingest
from tests.pipeline.pages import Page
from tests.pipeline.report.reported import FIRST, THICKNESS, WIDTH, make, page


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a volume, a prior, and in `run` a run of it: two blocks of four slices."""
    root = tmp_path_factory.mktemp("report")
    np.save(root / "volume.npy", neuropil((THICKNESS, WIDTH, 8), 1))
    at = f"precomputed://file://{root}/volume"
    ingest(root / "volume.npy", at, (16.0, 16.0, 16.0), chunk=32, offset=(0, 0, FIRST))
    torch.manual_seed(0)
    card = PriorCard(Architecture(width=8), 130, 33, 16, training={"licence": "CC-BY <i>4</i>"})
    save_prior(root / "prior.safetensors", UNet(card.architecture), card)
    make(root, "run")
    return root


@pytest.fixture(scope="session")
def long(runs: Path) -> str:
    """A run of three of five blocks of four slices, 32 x 140."""
    np.save(runs / "long.npy", neuropil((THICKNESS, WIDTH, 20), 1))
    at = f"precomputed://file://{runs}/long"
    ingest(runs / "long.npy", at, (16.0, 16.0, 16.0), chunk=32, offset=(0, 0, FIRST))
    return make(runs, "long-run", blocks=3, volume="long")


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> str:
    """A copy of the finished run, to spoil."""
    return shutil.copytree(runs / "run", tmp_path / "run").as_posix()


@pytest.fixture(scope="session")
def plain(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of the finished run as it is: drawn once, to read and to compare others with."""
    return page(shutil.copytree(runs / "run", tmp_path_factory.mktemp("plain") / "run").as_posix())


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure is a dot: for tests of words and numbers, which need no pixels."""

    def dot(figure: Figure, file: BinaryIO, **options: Any) -> None:
        imsave(file, np.zeros((1, 1, 3)), format="png")

    monkeypatch.setattr(Figure, "savefig", dot)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Panel]:
    """The panels of the page's pictures, as they come."""
    seen = list[Panel]()
    paint = gallery.pixels_png

    def spy(panel: Panel) -> bytes:
        if panel.title:  # all but the colour bars
            seen.append(panel)
        return paint(panel)

    monkeypatch.setattr(gallery, "pixels_png", spy)
    return seen
