"""Protocols of projectors: all that samplers and baselines may ask of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from ddgm.core import paper
from ddgm.core.errors import DdgmError
from ddgm.core.geometry import TiltGeometry

DataStep = Callable[[Tensor], Tensor]
ProximalStep = Callable[[Tensor, float], Tensor]
DrawStep = Callable[[Tensor, float, Tensor], Tensor]


class StepError(DdgmError):
    """A gradient step that would diverge."""


class BasisError(DdgmError):
    """A projector whose singular vectors are not at hand, for a method that needs them."""


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

    def proximal(self, y: Tensor) -> ProximalStep:
        """The map x, μ → argmin_z ‖Az - y‖² + μ ‖z - x‖², for μ > 0.

        What depends on y alone is computed once, here.
        """
        ...


@runtime_checkable
class Spectral(Projector, Protocol):
    """A projector whose singular value decomposition A = U S Vᵀ is at hand.

    Coefficients are those of an orthonormal basis, of any shape, real or complex; where the
    projector works on an extended slab, what lies outside the slice is zero going in and is
    cropped coming out.
    """

    @property
    def singular_values(self) -> Tensor:
        """s ≥ 0, of a shape that broadcasts against coefficients."""
        ...

    def coefficients(self, x: Tensor) -> Tensor:
        """Slices → Vᵀx."""
        ...

    def slices(self, coefficients: Tensor) -> Tensor:
        """Vc → slices."""
        ...

    def data_coefficients(self, y: Tensor) -> Tensor:
        """Sinograms → S Uᵀy = Vᵀ Aᵀ y."""
        ...


@runtime_checkable
class Whitening(Projector, Protocol):
    """A projector W A of a geometry with `noise`, W making the noise of all data the same.

    Its sinograms are whitened ones, (B, views, ·): those of `forward`, and all that it takes. There
    are no data in some directions of them, where they are zero.
    """

    def whiten(self, y: Tensor) -> Tensor:
        """Sinograms (B, views, bins) → whitened ones, Wy."""
        ...

    def unwhiten(self, y: Tensor) -> Tensor:
        """Whitened sinograms → sinograms (B, views, bins), without the frequencies that W drops."""
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
            f"and below 2 / ‖A‖₂² = {limit:.4g}; use {{relative: {paper.STEP}}}, "
            f"{paper.STEP / norm**2:.3g} here"
        )
    return step
