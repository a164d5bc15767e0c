"""A reconstruction method: its numbers, with their bounds and help, and how it solves a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from torch import Tensor

from ddgm.core import paper
from ddgm.core.metrics.uncertainty import mean_and_spread
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.networks.planes import Plane
from ddgm.core.numbers import NumberError, Numbers, number
from ddgm.core.projectors import DataStep, Projector

Network = Literal["denoiser", "restorer"]


class MethodError(NumberError):
    """A method that there is not, or a number that it cannot have."""


@dataclass(frozen=True)
class Problem:
    """Measurements of a batch of slices, and the means to reconstruct them.

    Attributes:
        projector: A; a `Spectral` where a method needs the singular values.
        y: sinograms, (B, views, bins); of consecutive slices, if the method couples them.
        denoise: ε̂, the prior, through which gradients flow.
        noise: step n → ε_n, (B, thickness, width), of unit variance; a method asks for the steps
            from 0 to `draws` - 1 of each of its chains, in order.
        tilt_noise: σ_y of y.
        progress: called as progress(n, x) after each noise level; n goes on from chain to chain.
        restore: a network that was trained to restore such measurements, for methods that use one.
    """

    projector: Projector
    y: Tensor
    denoise: Denoiser
    noise: Callable[[int], Tensor]
    tilt_noise: float
    progress: Callable[[int, Tensor], None] = lambda n, x: None
    restore: Denoiser | None = None


@dataclass(frozen=True)
class Step(Numbers):
    """λ of the gradient steps, as a share of 1 / ‖A‖₂² or as it is: one of the two."""

    relative: float | None = number(None, "the paper's 9e-5 at 128 x 128 is 1.42", gt=0, le=1e6)
    absolute: float | None = number(None, gt=0, le=1e6)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.relative is None) == (self.absolute is None):
            raise MethodError("give one of {relative: 1.42} and {absolute: 9.0e-5}")

    def size(self, norm: float) -> float:
        """λ for an operator of this norm, ‖A‖₂."""
        if self.absolute is not None:
            return self.absolute
        assert self.relative is not None
        return self.relative / norm**2


PAPER_STEP = Step(relative=paper.STEP)


@dataclass(frozen=True, kw_only=True)
class Method(Numbers):
    """A method with its numbers. To add one: a subclass, and its entry in `registry.METHODS`.

    Another package's goes into the entry points `ddgm.methods`, under its name.

    Attributes:
        title: for tables and reports.
        spectral: whether it works with singular values; `ddgm benchmark` then computes them where
            a projector has none.
        needs_basis: whether it works with nothing else, so that specs with a projector that has
            none are refused.
        needs_noise: whether it weighs the data by σ_y, which then must not be 0.
        comparison_only: whether `ddgm benchmark` knows it, and specs do not.
        name: in specs and on the command line.
    """

    title: ClassVar[str]
    spectral: ClassVar[bool] = False
    needs_basis: ClassVar[bool] = False
    needs_noise: ClassVar[bool] = False
    comparison_only: ClassVar[bool] = False

    name: str

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels from the first to the last, which the prior must have been trained at."""
        return ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that it calls: the prior, which denoises, and one that restores."""
        return ("denoiser",) if self.evaluations else ()

    @property
    def passes_of_restorer(self) -> int:
        """Calls of the network that restores, in one chain, with a data step before each."""
        return 0

    @property
    def channels_of_restorer(self) -> int:
        """Neighbouring slices that the network that restores sees at once."""
        return 1

    @property
    def evaluations(self) -> int:
        """Network evaluations of a slice, in one chain."""
        return len(self.sigmas)

    @property
    def products(self) -> int | None:
        """Products with AᵀA of a slice, in one chain; None where singular values replace them."""
        return None

    @property
    def chains(self) -> int:
        """Reconstructions of a slice, with noise of their own, whose mean is the result."""
        return 1

    @property
    def rounds(self) -> int:
        """Data steps of a slice, each before a denoising if there is one, over all chains."""
        return self.chains * max(1, self.evaluations)

    @property
    def planes_of_levels(self) -> tuple[Plane, ...]:
        """The plane that is denoised at each noise level; see `networks.planes`."""
        return ("slice",) * self.evaluations

    @property
    def reach(self) -> int | None:
        """Slices on either side that a slice's result depends on; None: all of its stack."""
        if any(plane != "slice" for plane in self.planes_of_levels):
            return None
        return self.passes_of_restorer * (self.channels_of_restorer // 2)

    @property
    def couples_slices(self) -> bool:
        """True if a slice's result depends on its neighbours, so that blocks need a halo."""
        return self.reach != 0

    @property
    def draws(self) -> int:
        """Steps of noise that a chain asks for."""
        return self.evaluations

    @property
    def noise_seed(self) -> int:
        """Seed of the method's noise."""
        return 0

    def check(self, norm: float) -> None:
        """Refuse numbers that cannot work with a projector of this norm, ‖A‖₂.

        Raises:
            DdgmError: they cannot.
        """

    def solve(self, problem: Problem) -> Tensor:
        """Normalised slices, (B, thickness, width), by one chain."""
        raise NotImplementedError

    def data_step(self, problem: Problem, sigma: float) -> DataStep:
        """The map x → x before the denoising at a noise level σ; what depends on y is done here.

        It is timed to tell what a run will take. By default one product with AᵀA.
        """
        a = problem.projector
        return lambda x: a.adjoint(a.forward(x))

    def sample(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over the chains, both (B, thickness, width)."""

        def chain(c: int) -> Tensor:
            own = replace(
                problem,
                noise=lambda n: problem.noise(c * self.draws + n),
                progress=lambda n, x: problem.progress(c * self.evaluations + n, x),
            )
            return self.solve(own)

        return mean_and_spread(chain, self.chains)

    @property
    def settings(self) -> str:
        """Its numbers as a table has them, as in `N = 50, K = 25`."""
        return ", ".join(
            f"{f.metadata['symbol']} = {_shown(getattr(self, f.name))}"
            for f in fields(self)
            if f.metadata.get("symbol")
        )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " … ".join(f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
