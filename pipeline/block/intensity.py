"""The grey levels of a run's volume that are 0 and 1 to its network."""

from __future__ import annotations

from ddgm.core.intensity import Intensity
from ddgm.pipeline.block.solver import cached_prior
from ddgm.pipeline.spec.plan import Plan


def grey_scale(plan: Plan) -> Intensity:
    """The intensity that normalises the volume: the spec's, or else the prior's."""
    return plan.spec.source.intensity or cached_prior(plan.spec.prior).card.intensity
