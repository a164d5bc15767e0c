"""The grey levels of a run's volume that are 0 and 1 to its network, and ends of intervals."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ddgm.core.intensity import Intensity
from ddgm.pipeline.block.solver import cached_prior
from ddgm.pipeline.spec.plan import Plan


def grey_scale(plan: Plan) -> Intensity:
    """The intensity that normalises the volume: the spec's, or else the prior's."""
    return plan.spec.source.intensity or cached_prior(plan.spec.prior).card.intensity


def in_steps(levels: np.ndarray, step: int) -> np.ndarray:
    """Grey levels in uint8, each rounded to the nearest multiple of `step` that there is."""
    if step == 1:
        return levels
    nearest = np.minimum(np.rint(levels / np.float32(step)), 255 // step)
    return (nearest * step).astype(np.uint8)


def bound(grey: Intensity, low: bool, end: Tensor, x: Tensor, dtype: str) -> np.ndarray:
    """Low or high ends of intervals about x in grey levels, as they are stored.

    Integers are rounded inward: the truth's grey levels are whole, so they lie between the stored
    ends just where they lie between the real ones. The reconstruction is never left out.

    Args:
        grey: turns normalised values into grey levels.
        low: whether these are the low ends.
        end: normalised, (n, thickness, width).
        x: the reconstruction, likewise.
        dtype: of the output.
    """
    levels = grey.grey(end.numpy())
    if dtype == "float32":
        return levels
    middle, limits = grey.grey(x.numpy(), dtype), np.iinfo(dtype)
    inner = np.minimum(np.ceil(levels), middle) if low else np.maximum(np.floor(levels), middle)
    return np.clip(inner, limits.min, limits.max).astype(dtype)
