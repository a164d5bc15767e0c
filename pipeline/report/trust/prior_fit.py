"""The fit of a run's prior to its data, by some slices and the scores in the ledger."""

from __future__ import annotations

import numpy as np
import torch

from ddgm.core.device import default_device
from ddgm.core.errors import DdgmError
from ddgm.core.metrics.prior_fit import PriorFit, likeness, preference
from ddgm.core.metrics.tissue import load_tissue
from ddgm.core.networks.denoiser import NetworkDenoiser
from ddgm.pipeline.block.intensity import grey_scale
from ddgm.pipeline.block.solver import cached_prior
from ddgm.pipeline.report.run_data import RunData
from ddgm.pipeline.report.slices import view_of

SLICES = 8  # that are looked at, evenly spaced
SPAN = 32  # slices from the first to the last of them: neighbours are one piece of tissue


def prior_fit(run: RunData) -> tuple[str, bool]:
    """All that is known of the prior's fit, in a sentence, and true if it does not fit."""
    try:
        found = _found(run)
    except DdgmError as error:  # weights that have moved, or whose tissue was not measured
        return f"Whether the prior fits these data is not known: {error}.", False
    return found.verdict, bool(found.reasons)


def _found(run: RunData) -> PriorFit:
    plan, g = run.plan, run.plan.geometry
    tissue = load_tissue(plan.spec.prior.weights)
    count = len(run.columns["slice"])
    rows = np.unique(np.linspace(0, count - 1, min(SLICES, count)).round().astype(int))
    views = [view_of(run, int(row)).layers for row in rows]
    images = [v["reconstruction"] for v in views if "reconstruction" in v]
    if not images:
        raise DdgmError("none of the slices that were looked at can be read")
    slices, noise = grey_scale(plan).normalised(np.stack(images)), plan.spec.tilts.noise
    scores = {name: _mean(run, name) if noise else None for name in ("residual", "held_out")}
    each = noise * float(np.mean(g.noise or 1.0))
    wide = np.ptp(run.columns["slice"][rows]) >= SPAN
    like = likeness(slices, g.angles, each, tissue) if g.aspect == 1 and wide else None
    return PriorFit(like, _preference(run, slices), **scores)


def _preference(run: RunData, slices: np.ndarray) -> float | None:
    """The prior's preference for the middles of slices; None of a prior that sees neighbours."""
    prior = cached_prior(run.plan.spec.prior)
    architecture, patch = prior.card.architecture, prior.card.patch
    if architecture.channels > 1:
        return None
    height, width = (
        min(n, patch) // architecture.multiple * architecture.multiple for n in slices.shape[1:]
    )
    if not height or not width:
        return None
    top, left = ((n - m) // 2 for n, m in zip(slices.shape[1:], (height, width), strict=True))
    middles = torch.from_numpy(slices[:, None, top : top + height, left : left + width])
    device = default_device()
    with torch.inference_mode():
        return preference(NetworkDenoiser(prior.network, device=device), middles.to(device))


def _mean(run: RunData, name: str) -> float | None:
    """Mean of a score over slices; None of one that there is not."""
    values = run.columns.get(name, np.empty(0))
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None
