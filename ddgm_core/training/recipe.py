"""Settings of a training: those that decide its result, and those that only affect speed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ddgm.core.networks.conditions import Conditions
from ddgm.core.networks.unet import Architecture

Schedule = Literal["constant", "cosine"]
Optimizer = Literal["adam", "muon"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """The paper's training (section 3) unless told otherwise; all that decides what comes out.

    Attributes:
        architecture: of the network.
        steps: updates of the weights.
        batch: patches to an update, over all devices.
        accumulate: parts that a device's share of a batch is worked through in, to save memory.
        patch: side of a patch, in pixels.
        sigma_range: log σ is uniform between the logs of these.
        weighting: exponent p of the loss's weight (1 + 10 σ)^p: 0 is Eq. 1; with 1 all noise
            levels count about alike, since the error falls as 1 / (1 + 10 σ) (measured).
        optimizer: Adam is the paper's; Muon learns in a third of the updates or fewer (measured,
            see docs/decisions.md).
        lr: peak learning rate of Adam (PyTorch's default), and of what Muon leaves to it.
        warmup: updates in which the rate rises to its peak.
        schedule: after that; `cosine` falls to zero at the last update.
        clip: largest norm of the gradient; None leaves it as it is.
        average: decay of the averaged weights, which are what is kept; 0 keeps the last.
        precision: of the network's products.
        seed: of the first weights and of all that is drawn.
        restores: the tilt series to learn to restore; by default the network learns to denoise.
        passes: of a network that restores, through all of which it is trained.
    """

    architecture: Architecture = field(default_factory=Architecture)
    steps: int = 380_000
    batch: int = 64
    accumulate: int = 1
    patch: int = 128
    sigma_range: tuple[float, float] = (0.03, 30.0)
    weighting: float = 0.0
    optimizer: Optimizer = "adam"
    lr: float = 1e-3
    warmup: int = 0
    schedule: Schedule = "constant"
    clip: float | None = None
    average: float = 0.999
    precision: Precision = "bfloat16"
    seed: int = 0
    restores: Conditions | None = None
    passes: int = 1

    @property
    def stack(self) -> int:
        """Neighbouring slices to a sample: so many that the middle one's result knows no end."""
        passes = self.passes if self.restores else 1
        return 1 + (self.architecture.channels - 1) * passes

    def conditions(self, update: int) -> Conditions:
        """The tilt series that an update learns to restore."""
        assert self.restores is not None
        return self.restores.drawn(self.seed, update)


@dataclass(frozen=True)
class RuntimeOptions:
    """Settings of a training that affect speed and memory but, save for rounding, not its result.

    Attributes:
        devices: processes that share a batch; each has a GPU, or they share the CPU.
        loaders: processes to a device that prepare patches.
        save_every: updates from one checkpoint to the next: what an interruption may cost.
        validate_every: updates from one validation to the next.
        slices: validation patches that are reconstructed with DDGM; 0 for none.
    """

    devices: int = 1
    loaders: int = 1
    save_every: int = 1000
    validate_every: int = 5000
    slices: int = 4
