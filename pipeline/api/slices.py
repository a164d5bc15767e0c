"""Slices in a notebook: what a run does to a block, on arrays that are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ddgm.arrays import A, like, stack
from ddgm.core.device import default_device
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.method import Method
from ddgm.core.networks.prior import Prior, PriorError, load_prior
from ddgm.core.networks.tiling import TiledDenoiser
from ddgm.core.paper import TILT_NOISE
from ddgm.core.projectors import Projector
from ddgm.core.projectors.batched import BatchedProjector
from ddgm.core.simulation.noise import numbered_origins
from ddgm.pipeline.block.denoising import (
    check_prior,
    check_spec_restorer,
    slice_denoiser,
    slice_restorer,
)
from ddgm.pipeline.block.solver import Solver, cached_projector
from ddgm.pipeline.spec.base import nearly_equal
from ddgm.pipeline.spec.model import BlockSpec, Spec
from ddgm.pipeline.spec.yaml_file import check_spec

SLICE, SINOGRAM = "thickness, width", "views, bins"


@dataclass(frozen=True)
class ArrayProjector:
    """A geometry's projector A for numpy arrays and tensors, of one slice or of a stack.

    Attributes:
        backend: the projector itself, which takes and gives stacks of tensors.
    """

    backend: Projector

    @property
    def geometry(self) -> TiltGeometry:
        """The slices and their views."""
        return self.backend.geometry

    @property
    def norm(self) -> float:
        """‖A‖₂: gradient steps of λ Aᵀ(Ax - y) converge for λ below 2 / ‖A‖₂²."""
        return self.backend.norm

    def forward(self, x: A) -> A:
        """Sinograms Ax, (views, bins) or (n, views, bins), of slices x.

        Raises:
            ArrayError: x has another shape than the geometry's slices.
        """
        return like(self.backend.forward(_slices(x, self.geometry).to(default_device())), x)

    def adjoint(self, y: A) -> A:
        """Back-projections Aᵀy, (thickness, width) or (n, thickness, width), of sinograms y.

        Raises:
            ArrayError: y has another shape than the geometry's sinograms.
        """
        return like(self.backend.adjoint(_sinograms(y, self.geometry).to(default_device())), y)


def projector(geometry: TiltGeometry) -> ArrayProjector:
    """The projector of a geometry, on the GPU where there is one.

    What is built for a geometry is kept in `~/.cache/ddgm` (or `$DDGM_CACHE`), and in this process.

    Args:
        geometry: the slices and their views.

    Examples:
        >>> import numpy as np
        >>> geometry = ddgm.TiltGeometry.uniform(16, 32, views=12)
        >>> a = ddgm.projector(geometry)
        >>> y = a.forward(np.ones((16, 32)))
        >>> y.shape == (geometry.views, geometry.bins)
        True
        >>> a.adjoint(y).shape
        (16, 32)
    """
    return ArrayProjector(_backend(geometry))


def simulate(x: A, geometry: TiltGeometry, noise: float = TILT_NOISE, seed: int = 0) -> A:
    """A tilt series of each slice, y = Ax + σ_y ε (Eq. 3).

    Args:
        x: normalised slices, (thickness, width) or (n, thickness, width).
        geometry: the slices and their views.
        noise: σ_y; with normalised slices 4.1 gives the paper's ratio of signal to noise, 10 to 1.
        seed: of ε, which differs from slice to slice of a stack.

    Returns:
        Sinograms as x came, (views, bins) or (n, views, bins), float32.

    Raises:
        ArrayError: x has another shape than the geometry's slices.

    Examples:
        >>> geometry = ddgm.TiltGeometry.uniform(32, 64, views=24, detector="lateral")
        >>> prior = ddgm.load_prior("small")
        >>> grey = ddgm.neuropil((32, 64, 8))[:, :, :2].transpose(2, 0, 1)
        >>> x = (grey - prior.card.mean) / prior.card.std
        >>> y = ddgm.simulate(x, geometry)
        >>> y.shape == (2, geometry.views, geometry.bins)
        True
    """
    slices = _slices(x, geometry)
    spec = _spec(tilts={"noise": noise, "seed": seed})
    solver = Solver(spec, _backend(geometry), TiledDenoiser(_no_network), default_device())
    return like(solver.simulate(slices, numbered_origins(len(slices))), x)


def reconstruct(
    y: A,
    geometry: TiltGeometry,
    prior: Prior | str = "small",
    method: Any = "ddgm",
    noise: float = TILT_NOISE,
    **network: Any,
) -> A:
    """Slices from their tilt series, by any method that a spec can name.

    The same numbers as a run gives for these sinograms, on the GPU where there is one.

    Args:
        y: sinograms of normalised slices, (views, bins) or (n, views, bins).
        geometry: the slices and their views.
        prior: what `load_prior` returns, or its argument.
        method: a name, a mapping as in a spec, such as {"name": "ddx", "steps": 10}, or a method.
        noise: σ_y of y, for methods that weigh data by it.
        network: how the prior's network is run, by the keys of a spec's part `prior`, such as
            precision="bfloat16". A prior, trained on cubes, is refused for a geometry of an aspect
            other than 1 without any_voxel_size=True.

    Returns:
        Normalised slices as y came, (thickness, width) or (n, thickness, width), float32: the
        mean, if the method has several chains. Grey levels are x * prior.card.std +
        prior.card.mean.

    Raises:
        DdgmError: y has another shape than the geometry's sinograms, or the prior, the method or
            one of its numbers cannot be used.

    Examples:
        >>> geometry = ddgm.TiltGeometry.uniform(32, 64, views=24, detector="lateral")
        >>> prior = ddgm.load_prior("small")
        >>> truth = (ddgm.neuropil((32, 64, 8))[:, :, 0] - prior.card.mean) / prior.card.std
        >>> y = ddgm.simulate(truth, geometry)
        >>> x = ddgm.reconstruct(y, geometry, prior, method={"name": "ddx", "steps": 4})
        >>> x.shape
        (32, 64)
        >>> bool(ddgm.metrics.mse(x, truth) < ddgm.metrics.mse(0 * x, truth))
        True
    """
    sinograms = _sinograms(y, geometry)
    loaded = load_prior(prior) if isinstance(prior, str) else prior
    chosen = {"name": method} if isinstance(method, str) else method
    if isinstance(chosen, Method):
        chosen = asdict(chosen)
    # products have the shape of a run's, for the same bits; no network call for what pads them
    at_once = BlockSpec().batch
    batch = min(max(len(sinograms), 1), at_once)
    block = {"slices": batch, "batch": batch, "halo": 0}
    spec = _spec(tilts={"noise": noise}, method=chosen, prior=network, block=block)
    _check_aspect(spec, loaded, geometry)
    check_prior(spec, loaded.card)
    backend, device = BatchedProjector(_backend(geometry), at_once), default_device()
    check_spec_restorer(spec, loaded.card, geometry)
    restorer = slice_restorer(spec, device)
    denoise = slice_denoiser(loaded, spec.prior, device)
    solver = Solver(spec, backend, denoise, device, restore=restorer)
    return like(solver.reconstruct(sinograms, numbered_origins(len(sinograms))), y)


def _check_aspect(spec: Spec, prior: Prior, geometry: TiltGeometry) -> None:
    """Refuse a prior that was trained on cubes for other pixels, unless the caller allows it."""
    if (
        spec.prior.any_voxel_size
        or not spec.method.evaluations
        or nearly_equal((geometry.aspect, 1))
    ):
        return
    raise PriorError(
        f"prior: it was trained on cubes of {prior.card.voxel_size_nm:g} nm, and a pixel's side "
        f"along the thickness is {geometry.aspect:g} of that along the width (geometry.aspect), "
        "which looks different to it; resample to squares, or use it all the same with "
        "any_voxel_size=True"
    )


def _spec(**parts: Mapping[str, Any]) -> Spec:
    """A spec of these parts, checked as any other; neither source nor output is looked at."""
    data = {"source": {"url": "file:///nowhere"}, "output": {"path": "nowhere"}, **parts}
    return check_spec(data)


def _backend(geometry: TiltGeometry) -> Projector:
    return cached_projector(geometry, default_device())


def _slices(x: Any, geometry: TiltGeometry) -> Tensor:
    return stack(x, "x", SLICE, (geometry.thickness, geometry.width))


def _sinograms(y: Any, geometry: TiltGeometry) -> Tensor:
    return stack(y, "y", SINOGRAM, (geometry.views, geometry.bins))


def _no_network(x: Tensor) -> Tensor:
    raise AssertionError("simulating needs no network")
