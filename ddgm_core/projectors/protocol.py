"""What samplers and baselines may ask of a projector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from ddgm_core.errors import DdgmError
from ddgm_core.geometry import TiltGeometry

DataStep = Callable[[Tensor], Tensor]


class StepError(DdgmError):
    """A gradient step that would diverge."""


class Projector(Protocol):
    """A linear operator A from slices to sinograms, y = Ax.

    Slices are (B, thickness, width), sinograms (B, views, bins), float32. `adjoint` is the
    exact transpose of `forward`, up to float32 rounding.
    """

    @property
    def geometry(self) -> TiltGeometry: ...

    @property
    def norm(self) -> float:
        """‖A‖₂; gradient steps of λ AᵀA converge for λ below 2 / ‖A‖₂²."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """Slices → sinograms, Ax."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Sinograms → slices, Aᵀy."""
        ...

    def gradient_steps(self, y: Tensor, step: float, count: int) -> DataStep:
        """The map x → x after `count` steps x ← x - `step` · Aᵀ(Ax - y).

        All that depends on y alone is computed once, here, so that a sampler may apply the
        map at each of its noise levels.

        Raises:
            StepError: the steps would diverge.
        """
        ...


def checked_step(step: float, norm: float, field: str = "method.step") -> float:
    """The step itself, if gradient descent converges with it.

    Args:
        step: λ.
        norm: ‖A‖₂.
        field: of the spec, for the message.

    Raises:
        StepError: `step` is not positive or not below 2 / `norm`².
    """
    limit = 2 / norm**2
    if not 0 < step < limit:
        raise StepError(
            f"{field}: {step:.4g} would diverge: with ‖A‖₂ = {norm:.4g} it must be positive "
            f"and below 2 / ‖A‖₂² = {limit:.4g}; use {{relative: 1.42}}, {1.42 / norm**2:.3g} here"
        )
    return step
