"""The spec's numerical work on stacks of slices, in batches of one fixed size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import torch
from torch import Tensor

from ddgm.core.batches import fixed_batches
from ddgm.core.device import default_device
from ddgm.core.geometry import TiltGeometry
from ddgm.core.methods.method import Problem
from ddgm.core.metrics import scores as metrics
from ddgm.core.metrics import volumes
from ddgm.core.metrics.conformal import ErrorMap, pixel_features
from ddgm.core.metrics.fourier import resolutions
from ddgm.core.metrics.uncertainty import measured_part, measured_share
from ddgm.core.networks.denoiser import Denoiser
from ddgm.core.networks.prior import Prior, load_prior
from ddgm.core.networks.tiling import RowDenoiser, TiledDenoiser
from ddgm.core.process_cache import cached_in_process
from ddgm.core.projectors import DataStep, Projector, Spectral, Whitening, projector
from ddgm.core.projectors.batched import BatchedProjector
from ddgm.core.projectors.simulated import simulated
from ddgm.core.simulation.noise import NoiseField, SliceOrigin
from ddgm.pipeline.block.denoising import slice_denoiser, slice_restorer
from ddgm.pipeline.spec.model import PriorSpec, Spec
from ddgm.pipeline.spec.plan import Block, Plan

BatchWork = Callable[[Tensor, Sequence[SliceOrigin]], Tensor]

SPARSE = 4  # from one slice to the next whose rings are added up: neighbours look alike


@dataclass(frozen=True)
class Solver:
    """Simulates, reconstructs and scores slices of one geometry.

    All take and give (n, ·, ·) float32 tensors of normalised slices or sinograms, any n, with
    the slices' origins; sinograms have all views. They work through them `block.batch` at a time,
    the last batch padded: a product's bits can depend on its shape, and must not depend on how a
    volume was cut.

    Attributes:
        projector: of the views that reconstruct.
        whole: of all views, where some are held out.
        out: numbers of those.
    """

    spec: Spec
    projector: Projector
    denoise: TiledDenoiser | RowDenoiser
    device: torch.device
    whole: Projector | None = None
    restore: TiledDenoiser | RowDenoiser | None = None
    out: tuple[int, ...] = ()

    @property
    def all_views(self) -> Projector:
        """The projector of all views."""
        return self.whole or self.projector

    @property
    def kept(self) -> list[int]:
        """Numbers of the views that reconstruct."""
        return [i for i in range(self.all_views.geometry.views) if i not in self.out]

    def simulate(self, slices: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
        """Tilt series y = Ax + σ_y ε (Eq. 3), or as the spec's `tilts.simulate` says."""
        t = self.spec.tilts

        def work(x: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
            return simulated(self.all_views, x, t.noise, t.seed, origins, t.simulate)

        return self.in_batches(work, slices, origins)

    def reconstruct(self, sinograms: Tensor, origins: Sequence[SliceOrigin]) -> Tensor:
        """Slices by the spec's method; the mean of its chains."""
        return self.sample(sinograms, origins)[0]

    def steps(self, slices: int) -> int:
        """Noise levels that `sample` passes for so many slices, over all batches and chains."""
        method, size = self.spec.method, self.spec.block.batch
        return method.rounds * (1 if method.couples_slices else -(-slices // size))

    def sample(
        self,
        sinograms: Tensor,
        origins: Sequence[SliceOrigin],
        progress: Callable[[int], None] = lambda steps: None,
    ) -> tuple[Tensor, Tensor]:
        """Slices by the spec's method, and the spread of its chains, both (n, ·, ·).

        Where the method couples slices, they must be consecutive, and are solved as one stack.
        `progress` is called with the `steps` that are done.
        """
        method, g = self.spec.method, self.projector.geometry
        field = NoiseField(method.noise_seed, "sampler")
        end, firsts = method.chains * method.draws, count(0, method.rounds)

        def work(y: Tensor, origins: Sequence[SliceOrigin], a: Projector) -> Tensor:
            noise = field.ahead((g.thickness, g.width), origins, self.device, end)
            first = next(firsts)
            problem = replace(
                self._problem(y, noise),
                projector=a,
                progress=lambda n, _: progress(first + n + 1),
            )
            made = torch.stack(method.sample(problem), dim=1)
            progress(first + method.rounds)  # of a method that does not say
            return made

        data = self._data(sinograms)
        if method.couples_slices:
            a = BatchedProjector(self.projector, self.spec.block.batch)
            with torch.inference_mode():
                solved = work(data.to(self.device), origins, a).cpu()
        else:
            solved = self.in_batches(lambda y, o: work(y, o, self.projector), data, origins)
        mean, spread = solved.unbind(1)
        return mean, spread

    def measured(self, x: Tensor) -> Tensor:
        """The share of slices that lies in what was measured, (n, ·, ·); see `measured_share`."""
        a, noise = self.projector, self.spec.tilts.noise
        assert isinstance(a, Spectral)  # `prepare` has refused the layer otherwise
        return self.in_batches(lambda x, _: measured_share(a, x, noise), x)

    def contradicted(self, error: Tensor) -> Tensor:
        """The part of errors, (n, ·, ·), in measured directions; see `measured_part`."""
        a, noise = self.projector, self.spec.tilts.noise
        assert isinstance(a, Spectral)  # as above
        return self.in_batches(lambda e, _: measured_part(a, e, noise), error)

    def expected_error(
        self, error_map: ErrorMap, x: Tensor, spread: Tensor, measured: Tensor
    ) -> Tensor:
        """The root mean square error that a map expects of each pixel, (n, ·, ·)."""

        def work(known: Tensor, _: Sequence[SliceOrigin]) -> Tensor:
            return error_map(pixel_features(*known.unbind(1)))

        return self.in_batches(work, torch.stack((x, spread, measured), 1))

    def data_step(self, y: Tensor, sigma: float) -> DataStep:
        """The data step of the spec's method, which comes before a denoising."""
        return self.spec.method.data_step(self._problem(self._data(y), _no_noise), sigma)

    def algebraic(self, sinograms: Tensor) -> Tensor:
        """Slices by the classical baseline (Eq. 4)."""
        method = self.spec.algebraic
        data = self._data(sinograms)
        return self.in_batches(lambda y, _: method.solve(self.projector, y), data)

    def score(
        self,
        x: Tensor,
        truth: Tensor,
        y: Tensor,
        block: Block | None = None,
        pixel_nm: float = 1.0,
    ) -> dict[str, Tensor]:
        """Metrics of each slice by name, (n,) each; not finite where a slice has none.

        Args:
            x: consecutive slices, as truth.
            truth: of them.
            y: their tilt series.
            block: whose own slices they are; default: a block without a halo.
            pixel_nm: width of a pixel; default: resolutions are in pixels.
        """
        ax = self.in_batches(lambda part, _: self.all_views.forward(part), x)
        noise = self.spec.tilts.noise
        scores = {
            "mse": metrics.mse(x, truth),
            "ssim": metrics.ssim(x, truth),
            "residual": metrics.data_residual(self._kept(ax), self._kept(y), noise),
            "ssim_across": volumes.ssim(x, truth, "across"),
            "ssim_along": volumes.ssim(x, truth, "along"),
            "neighbours": volumes.neighbours(x, truth),
        }
        of, aspect = slice(None, None, SPARSE), self.projector.geometry.aspect
        found = resolutions(x[of], truth[of], pixel_nm, aspect)  # of the stack: the same for all
        scores |= {name: value.expand(len(x)) for name, value in found.items()}
        if out := list(self.out):
            scores["held_out"] = metrics.data_residual(ax[:, out], y[:, out], noise)
        return scores | self._split(x, truth) | self._seams(x, truth, block)

    def _split(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Energy of the error in what was measured, and in the rest; none without eigenbasis."""
        if not isinstance(self.projector, Spectral):
            return {}
        error = x - truth
        wrong = self.contradicted(error)
        nothing = torch.zeros(())
        return {
            "contradicted": metrics.mse(wrong, nothing),
            "invented": metrics.mse(error - wrong, nothing),
        }

    def _seams(self, x: Tensor, truth: Tensor, block: Block | None) -> dict[str, Tensor]:
        """Seam energy along each axis that several tiles lie along, over the truth's own."""
        tiles, seams = self.denoise, {}
        if not isinstance(tiles, TiledDenoiser):
            return {}
        patch, stride = tiles.patch, tiles.stride
        for name, a, b in (("seam", x, truth), ("seam_thickness", x.mT, truth.mT)):
            if a.shape[-1] > patch:
                own = metrics.seam_energy(b, patch, stride)
                seams[name] = metrics.seam_energy(a, patch, stride) / own
        if self.spec.method.couples_slices:
            solved = len(block.stack) if block else len(x)
            before = block.own.start if block else 0
            last = [b - 1 - before for b in metrics.tile_borders(solved, patch, stride)]
            seams["seam_tilt"] = volumes.tilt_seam(x, truth, last)
        return seams

    def _problem(self, y: Tensor, noise: Callable[[int], Tensor]) -> Problem:
        a, sigma = self.projector, self.spec.tilts.noise
        return Problem(a, y, self.denoise, noise, sigma, restore=self.restore)

    def _data(self, sinograms: Tensor) -> Tensor:
        """The data y of Ax = y: those of the views that reconstruct, whitened where measured."""
        a, kept = self.projector, self._kept(sinograms)
        if not a.geometry.noise:
            return kept
        assert isinstance(a, Whitening)  # `projector` has refused others
        return self.in_batches(lambda y, _: a.whiten(y), kept)

    def _kept(self, sinograms: Tensor) -> Tensor:
        """Those of the views that reconstruct."""
        return sinograms[:, self.kept] if self.whole else sinograms

    @torch.inference_mode()
    def in_batches(self, work: BatchWork, x: Tensor, origins: Sequence[SliceOrigin] = ()) -> Tensor:
        """All that `work` makes of x, `block.batch` of it at a time."""
        size = self.spec.block.batch
        everywhere = [*origins, *list(origins[-1:]) * (-len(x) % size)]
        parts = [
            work(batch.to(self.device), everywhere[i * size : (i + 1) * size]).cpu()
            for i, batch in enumerate(fixed_batches(x, size))
        ]
        return torch.cat(parts)[: len(x)]


def _no_noise(n: int) -> Tensor:
    raise AssertionError("a data step draws no noise")


def cached_prior(spec: PriorSpec) -> Prior:
    """The spec's prior, loaded once per process."""
    weights, sha256 = spec.weights, spec.sha256
    return cached_in_process(("prior", weights, sha256), lambda: load_prior(weights, sha256))


def cached_projector(
    geometry: TiltGeometry, device: torch.device, name: str | None = None
) -> Projector:
    """A geometry's projector, built once per process."""
    key = "projector", geometry.digest, name, str(device)
    return cached_in_process(key, lambda: projector(geometry, device=device, name=name))


def cached_solver(plan: Plan, calls: bool = False) -> Solver:
    """The solver of a plan, built once per process; with `calls` the pool runs its network."""
    spec, device = plan.spec, default_device()

    def build() -> Solver:
        prior = cached_prior(spec.prior)
        of = partial(cached_projector, device=device, name=spec.tilts.projector)
        whole = of(plan.solved) if plan.held_out else None
        pooled = pooled_denoiser(spec) if calls else None
        denoise = slice_denoiser(prior, spec.prior, device, pooled)
        pool = pooled_denoiser if calls else None
        restore = slice_restorer(spec, device, pool)
        return Solver(spec, of(plan.kept), denoise, device, whole, restore, plan.held_out)

    parts = spec.model_dump_json(include={"tilts", "prior", "method", "algebraic", "block", "pool"})
    key = "solver", parts, plan.geometry.digest, str(device), calls
    return cached_in_process(key, build)


def pooled_denoiser(spec: Spec) -> Denoiser:
    """The spec's network as pool workers run it; for Dask tasks, whose spec names the SHA-256."""
    from ddgm.workers.pool_worker import NetworkSpec
    from ddgm.workers.pooled_denoiser import PooledDenoiser

    p, threads = spec.prior, spec.cluster.threads
    assert p.sha256 is not None
    network = NetworkSpec(p.weights, p.sha256, p.precision, p.images_per_call, threads)
    return PooledDenoiser(network, spec.pool.call_seconds)
