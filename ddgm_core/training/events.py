"""Events of a training; progress bars, logs and pictures subscribe to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Started:
    """A training starts, or goes on after `step` updates of `steps`."""

    step: int
    steps: int
    parameters: int
    multiply_adds: int  # of the network, for one patch
    device: str


@dataclass(frozen=True)
class Stepped:
    """`step` updates are done; the rest are means since the last such event."""

    step: int
    loss: float
    lr: float
    patches_per_second: float
    waiting: float  # share of the time that the loop waited for patches


@dataclass(frozen=True)
class Validated:
    """Validation of the averaged weights after `step` updates, on patches never trained on.

    Attributes:
        step: updates done.
        errors: noise level σ → mean ‖ε - ε̂‖² per pixel; none of a network that restores.
        mse: of DDGM, or of what the network restores, on validation slices, normalised units; NaN
            where neither was run.
        ratio: that over gradient descent's on the same measurements.
        pictures: name → (rows, columns, height, width) images, normalised.
    """

    step: int
    errors: dict[float, float]
    mse: float
    ratio: float
    pictures: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk, whole."""

    step: int
    path: Path


Event = Started | Stepped | Validated | Saved
Observer = Callable[[Event], None]
