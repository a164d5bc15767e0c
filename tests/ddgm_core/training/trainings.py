"""Small trainings for the tests; as a program, one that ends early: `python -m ... HOW FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddgm.core.networks.unet import Architecture
from ddgm.core.training.callbacks import TrainingError
from ddgm.core.training.data import Drawing, NoisyPatches, PatchError, PatchSource
from ddgm.core.training.events import Event, Observer, Stepped
from ddgm.core.training.fit import fit
from ddgm.core.training.recipe import Recipe, RuntimeOptions

TINY = Architecture(width=8, levels=2, convolutions=2, groups=4)
RECIPE = Recipe(
    TINY,
    steps=14,
    batch=4,
    patch=16,
    warmup=2,
    schedule="cosine",
    clip=1.0,
    average=0.9,
    precision="float32",
)
RUNNING = RuntimeOptions(save_every=4)
KILLED_AT = 10  # an update with an event, two after a checkpoint


class Killed(Exception):
    """Stands for whatever ends a process."""


@dataclass
class Listener:
    """Keeps the events, and ends the training after an update if told so."""

    until: int | None = None
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Stepped) and event.step == self.until:
            raise Killed

    def losses(self) -> dict[int, float]:
        """Update → mean loss since the event before."""
        return {e.step: e.loss for e in self.events if isinstance(e, Stepped)}


def grey(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def patches(recipe: Recipe = RECIPE) -> NoisyPatches:
    """Of two volumes of noise."""
    volumes = PatchSource("a", [grey(20, 24, 28)]), PatchSource("b", [grey(16, 16, 16, seed=1)])
    source = Drawing(volumes, 127.5, 74.0, recipe.seed)
    return NoisyPatches(source, recipe.patch, recipe.sigma_range)


def train(
    folder: Path,
    recipe: Recipe = RECIPE,
    options: RuntimeOptions = RUNNING,
    observers: Sequence[Observer] = (),
    validation: Tensor | None = None,
) -> dict[str, Tensor]:
    """The averaged weights that come out."""
    network = fit(recipe, patches(recipe), folder, options, validation, observers)
    return network.state_dict()


def die(event: Event) -> None:
    """As the kernel would have it when memory runs out."""
    if isinstance(event, Stepped) and event.step == KILLED_AT:
        os.kill(os.getpid(), signal.SIGKILL)


class Spoilt(Sequence[np.ndarray]):
    """Bricks that cannot be had."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, k: int | slice) -> Any:
        raise PatchError("spoilt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["killed", folder]:
            train(Path(folder), observers=[die])
        case ["failed", folder]:
            pairs = NoisyPatches(Drawing((PatchSource("a", Spoilt()),), 127.5, 74.0), RECIPE.patch)
            try:
                fit(RECIPE, pairs, Path(folder), RuntimeOptions(loaders=2))
            except TrainingError as error:
                kept = error  # with its frames, and so with the loaders
