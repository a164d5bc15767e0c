"""Measured series in blocks: where there are data, and scores that need no truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ddgm.core import paper
from ddgm.core.geometry import TiltGeometry
from ddgm.core.metrics.scores import seam_energy
from ddgm.core.networks.tiling import TiledDenoiser
from ddgm.core.projectors import Whitening
from ddgm.core.simulation.noise import SliceOrigin
from ddgm.pipeline.spec.opened import tilt_series
from ddgm.pipeline.spec.output import Layer
from ddgm.pipeline.spec.plan import Block, Plan

if TYPE_CHECKING:
    from ddgm.pipeline.block.solver import Solver


def sinograms(
    plan: Plan, read: np.ndarray, origins: Sequence[SliceOrigin]
) -> tuple[Tensor, Tensor]:
    """Sinograms with the margins of `Plan.solved`, and the bins of them that count.

    Args:
        plan: of the series.
        read: sinograms of some slices, as the series gives them; (n, views, bins).
        origins: of the slices.

    Returns:
        Two tensors, (n, views, bins with margins).
    """
    covered = tilt_series(plan.spec).covered(origins[0][2], origins[-1][2] + 1)
    side = (plan.solved.bins - plan.geometry.bins) // 2
    y, seen = (np.pad(part, ((0, 0), (0, 0), (side, side))) for part in (read, covered))
    return torch.from_numpy(y), counted(plan.solved, seen)


def completed(solver: Solver, y: Tensor, bins: Tensor) -> Tensor:
    """Sinograms whose missing bins are as the algebraic reconstruction of the others has them.

    A missing bin is no zero: at that it would be fitted, through all that its beam crosses. See
    docs/decisions.md.

    Args:
        solver: of the series.
        y: with all views, (n, views, bins).
        bins: those that count, as y.
    """
    a, kept = solver.projector, solver.kept
    assert isinstance(a, Whitening)
    step = paper.STEP / a.norm**2

    def work(known: Tensor, _: Sequence[SliceOrigin]) -> Tensor:
        own, mask = known.unbind(1)
        x = own.new_zeros(len(own), a.geometry.thickness, a.geometry.width)
        for _step in range(paper.DESCENT_STEPS):
            off = mask * (a.unwhiten(a.forward(x)) - own)
            x = x - step * a.adjoint(a.whiten(off))
        return mask * own + (1 - mask) * a.unwhiten(a.forward(x))

    out = y.clone()
    out[:, kept] = solver.in_batches(work, torch.stack((y, bins.to(y)), 1)[:, :, kept])
    return out


def cut(
    plan: Plan, block: Block, stacks: dict[Layer, Tensor], read: np.ndarray
) -> dict[Layer, Tensor]:
    """Stacks as they are written: without margins, and the mean, 0, where not all views have data.

    Args:
        plan: of the series.
        block: whose own slices they are.
        stacks: of slices with margins, and of sinograms.
        read: sinograms as they were measured: they are written so.
    """
    covered = tilt_series(plan.spec).covered(block.origins[0][2], block.origins[-1][2] + 1)
    seen = seen_by_all(plan.geometry, covered)
    side = (plan.solved.width - plan.geometry.width) // 2
    inside = slice(side, side + plan.geometry.width)
    own: dict[Layer, Tensor] = {"sinogram": torch.from_numpy(read)}
    for layer, stack in stacks.items():
        if layer != "sinogram":
            own[layer] = stack[..., inside] * seen
    return own


def seen_by_all(geometry: TiltGeometry, covered: np.ndarray) -> Tensor:
    """The pixels of slices that lie in the data of every view, (n, thickness, width).

    Args:
        geometry: of all views.
        covered: the bins that have data, a run of them in each view, (n, views, bins).
    """
    first = covered.argmax(-1).astype(float)
    last = covered.shape[-1] - 1 - covered[..., ::-1].argmax(-1)
    first = np.where(covered.any(-1), first, np.inf)
    depth = np.arange(geometry.thickness) - (geometry.thickness - 1) / 2
    # the bin of a pixel's centre at column x: x + side - depth · tan θ
    beside = geometry.reach - depth[:, None] * np.tan(geometry.angles)
    low = (first[:, None] - beside).max(-1)[..., None]
    high = (last[:, None] - beside).min(-1)[..., None]
    column = np.arange(geometry.width)
    return torch.from_numpy((low <= column) & (column <= high))


def counted(geometry: TiltGeometry, covered: np.ndarray) -> Tensor:
    """The bins that a slice can be held against, whose beams do not leave it at its sides.

    Args:
        geometry: of all views.
        covered: the bins that have data, (n, views, bins).

    Returns:
        As `covered`.
    """
    bins = np.abs(np.arange(geometry.bins) - (geometry.bins - 1) / 2)
    beyond = geometry.thickness / 2 * np.abs(np.tan(geometry.angles))
    within = bins <= geometry.width / 2 - beyond[:, None]
    return torch.from_numpy(covered & within)


def scores(solver: Solver, x: Tensor, y: Tensor, bins: Tensor) -> dict[str, Tensor]:
    """Scores of slices that need no truth, by name, (n,) each; not finite where there is none.

    Args:
        solver: of the series.
        x: slices, with their margins.
        y: their sinograms as they were measured, with all views; (n, views, bins).
        bins: those that count, as y.
    """
    a, noise = solver.all_views, solver.spec.tilts.noise
    assert isinstance(a, Whitening)
    seen = solver.in_batches(lambda part, _: a.unwhiten(a.forward(part)), x)
    off = solver.in_batches(lambda part, _: a.whiten(part), bins * (seen - y))
    found = {"residual": residual(off, bins, a.geometry, solver.kept, noise)}
    if solver.out:
        found["held_out"] = residual(off, bins, a.geometry, solver.out, noise)
    tiles = solver.denoise
    if isinstance(tiles, TiledDenoiser):
        for name, image in (("seam", x), ("seam_thickness", x.mT)):
            if image.shape[-1] > tiles.patch:
                found[name] = seam_energy(image, tiles.patch, tiles.stride)
    return found


def residual(
    whitened: Tensor, bins: Tensor, geometry: TiltGeometry, views: Sequence[int], noise: float
) -> Tensor:
    """‖Ax - y‖² of some views over its expectation where only noise is left, of each slice; (n,).

    A stretched view has data in as many directions as the detector has bins: cos θ of its own.
    NaN where none of the views has data.

    Args:
        whitened: W m (Ax - y), with m the bins that are counted; (n, views, ·).
        bins: m, (n, views, bins).
        geometry: of all views.
        views: their numbers.
        noise: σ_y of whitened data.
    """
    own = list(views)
    cosines = torch.tensor(geometry.angles).cos()
    expected = noise**2 * (bins.sum(-1) * cosines)[:, own].sum(-1)
    return whitened[:, own].square().sum((1, 2)) / expected
