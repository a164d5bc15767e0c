"""The spec's numerical work on stacks of slices, in batches of one fixed size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddgm.core.device import default_device
from ddgm.core.methods import least_squares, samplers
from ddgm.core.methods.schedules import log_linear
from ddgm.core.metrics import scores as metrics
from ddgm.core.metrics.uncertainty import mean_and_spread, measured_share
from ddgm.core.networks.denoiser import Denoiser, NetworkDenoiser
from ddgm.core.networks.prior import Prior, PriorError, load_prior
from ddgm.core.networks.tiling import RowDenoiser, TiledDenoiser
from ddgm.core.projectors import DataStep, Projector, Spectral, projector
from ddgm.core.simulation.noise import NoiseField, SliceOrigin
from ddgm.pipeline.spec.method import Ddgm, Ddx, GradientDescent
from ddgm.pipeline.spec.model import PriorSpec, Spec
from ddgm.pipeline.spec.plan import Plan
from ddgm.workers.process_cache import cached_in_process

BatchWork = Callable[[Tensor, Sequence[SliceOrigin]], Tensor]


def slice_denoiser(
    prior: Prior, spec: PriorSpec, device: torch.device, pooled: Denoiser | None = None
) -> TiledDenoiser | RowDenoiser:
    """A prior's network over slices of any size, as the spec wants it run.

    Args:
        pooled: who runs the network instead of this process; it makes batches itself.

    Raises:
        PriorError: tiles that would leave gaps.
    """
    card = prior.card
    network = pooled or NetworkDenoiser(prior.network, spec.precision, device)
    if spec.tiling == "rows":
        return RowDenoiser(network, card.architecture.multiple, None if pooled else 1)
    if spec.stride > card.patch:
        raise PriorError(
            f"prior.stride: {spec.stride} is more than the patch of {spec.weights}, "
            f"{card.patch}; tiles must overlap or touch"
        )
    batch = None if pooled else spec.batch
    return TiledDenoiser(network, card.patch, spec.stride, batch, spec.bump)


@dataclass(frozen=True)
class Solver:
    """Simulates, reconstructs and scores slices of one geometry.

    All take and give (n, ·, ·) float32 tensors of normalised slices or sinograms, any n, with
    the slices' origins. They work through them `block.batch` at a time, the last batch padded:
    a product's bits can depend on its shape, and must not depend on how a volume was cut.
    """

    spec: Spec
    projector: Projector
    denoise: TiledDenoiser | RowDenoiser
    device: torch.device

    def simulate(self, slices: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
        """Tilt series y = Ax + σ_y ε (Eq. 3)."""
        tilts, noise = self.spec.tilts, NoiseField(self.spec.tilts.seed, "sinogram")

        def work(x: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
            y = self.projector.forward(x)
            return y + tilts.noise * noise.batch(tuple(y.shape[1:]), origins).to(y)

        return self._in_batches(work, slices, origins)

    def reconstruct(self, sinograms: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
        """Slices by the spec's method; the mean of its chains."""
        return self.sample(sinograms, origins)[0]

    def sample(self, sinograms: Tensor, origins: Sequence[SliceOrigin]) -> tuple[Tensor, Tensor]:
        """Slices by the spec's method, and the spread of its chains, both (n, ·, ·)."""
        method = self.spec.method
        if isinstance(method, GradientDescent):
            step = method.step.size(self.projector.norm)
            x = self._descend(sinograms, origins, step, method.gradient_steps)
            return x, torch.zeros_like(x)

        def work(y: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
            pair = mean_and_spread(lambda c: self._chain(method, y, origins, c), method.samples)
            return torch.stack(pair, dim=1)

        mean, spread = self._in_batches(work, sinograms, origins).unbind(1)
        return mean, spread

    def _chain(
        self, method: Ddgm | Ddx, y: Tensor, origins: Sequence[SliceOrigin], c: int
    ) -> Tensor:
        """One batch by one chain; each chain has noise of its own."""
        a, denoise = self.projector, self.denoise
        sigmas = log_linear(*method.sigma, method.steps)
        field = NoiseField(method.seed, "sampler")
        shape, end = (a.geometry.thickness, a.geometry.width), (c + 1) * method.steps
        drawn = field.ahead(shape, origins, self.device, end)

        def noise(n: int) -> Tensor:
            return drawn(c * method.steps + n)

        if isinstance(method, Ddx):
            tilt_noise = self.spec.tilts.noise
            return samplers.ddx(a, y, denoise, noise, sigmas, tilt_noise, method.rho, method.kappa)
        step, count = method.step.size(a.norm), method.gradient_steps
        return samplers.ddgm(a, y, denoise, noise, sigmas, step, count)

    def measured(self, x: Tensor) -> Tensor:
        """The share of slices that lies in what was measured, (n, ·, ·); see `measured_share`."""
        a, noise = self.projector, self.spec.tilts.noise
        assert isinstance(a, Spectral)  # `prepare` has refused the layer otherwise

        def work(x: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
            return measured_share(a, x, noise)

        return self._in_batches(work, x, [(0, 0, 0)] * len(x))

    def data_step(self, y: Tensor, sigma: float) -> DataStep:
        """The data step of the spec's method, which comes before a denoising."""
        method, a = self.spec.method, self.projector
        if isinstance(method, Ddx):
            solve, mu = (
                a.proximal(y),
                samplers.proximal_weight(self.spec.tilts.noise, method.rho, sigma),
            )
            return lambda x: solve(x, mu)
        return a.gradient_steps(y, method.step.size(a.norm), method.gradient_steps)

    def algebraic(self, sinograms: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
        """Slices by the classical baseline (Eq. 4)."""
        a = self.spec.algebraic
        step = a.step.size(self.projector.norm)
        return self._descend(sinograms, origins, step, a.gradient_steps)

    def score(self, x: Tensor, truth: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Metrics of each slice, (n,) each: mse, ssim, residual and, if tiled, seam."""
        nowhere: list[SliceOrigin] = [(0, 0, 0)] * len(x)
        ax = self._in_batches(lambda part, _: self.projector.forward(part), x, nowhere)
        scores = {
            "mse": metrics.mse(x, truth),
            "ssim": metrics.ssim(x, truth),
            "residual": metrics.data_residual(ax, y, self.spec.tilts.noise),
        }
        tiles = self.denoise
        if isinstance(tiles, TiledDenoiser) and x.shape[-1] > tiles.patch:
            patch, stride = tiles.patch, tiles.stride
            own = metrics.seam_energy(truth, patch, stride)
            scores["seam"] = metrics.seam_energy(x, patch, stride) / own
        return scores

    def _descend(
        self, y: Tensor, origins: Sequence[SliceOrigin], step: float, count: int
    ) -> Tensor:
        def work(y: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
            return least_squares.gradient_descent(self.projector, y, step, count)

        return self._in_batches(work, y, origins)

    @torch.inference_mode()
    def _in_batches(self, work: BatchWork, x: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
        size = self.spec.block.batch
        missing = -len(x) % size
        padded = torch.cat([x, x.new_zeros(missing, *x.shape[1:])])
        everywhere = [*origins, *(origins[-1],) * missing]
        parts = [
            work(batch.to(self.device), everywhere[i * size : (i + 1) * size]).cpu()
            for i, batch in enumerate(padded.split(size))
        ]
        return torch.cat(parts)[: len(x)]


def cached_prior(spec: PriorSpec, digest: str | None = None) -> Prior:
    """The spec's prior, loaded once per process; other weights than `digest` are refused."""
    sha256 = digest or spec.sha256
    return cached_in_process(
        ("prior", spec.weights, sha256), lambda: load_prior(spec.weights, sha256)
    )


def cached_solver(plan: Plan, weights_digest: str, calls: bool = False) -> Solver:
    """The solver of a plan, built once per process; with `calls` the pool runs its network."""
    spec, device = plan.spec, default_device()

    def build() -> Solver:
        prior = cached_prior(spec.prior, weights_digest)
        kept = cached_in_process(
            ("projector", plan.geometry.digest, str(device)),
            lambda: projector(plan.geometry, device=device),
        )
        pooled = pooled_denoiser(spec, weights_digest) if calls else None
        return Solver(spec, kept, slice_denoiser(prior, spec.prior, device, pooled), device)

    parts = spec.model_dump_json(include={"tilts", "prior", "method", "algebraic", "block", "pool"})
    key = "solver", parts, plan.geometry.digest, weights_digest, str(device), calls
    return cached_in_process(key, build)


def pooled_denoiser(spec: Spec, weights_digest: str) -> Denoiser:
    """The spec's network as pool workers run it; for Dask tasks."""
    from ddgm.workers.pool_worker import NetworkSpec
    from ddgm.workers.pooled_denoiser import PooledDenoiser

    p = spec.prior
    batch = p.batch if p.tiling == "tiles" else 1
    network = NetworkSpec(p.weights, weights_digest, p.precision, batch, spec.cluster.threads)
    return PooledDenoiser(network, spec.pool.call_seconds)
